"""LangMem's two deployable graphs."""
