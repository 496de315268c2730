"""Bridges to other frameworks, each an extra: `integrations.langchain` and `integrations.langgraph`."""
