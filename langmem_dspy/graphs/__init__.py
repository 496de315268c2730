"""LangMem's two deployable graphs as plain async callables, `(input, config) -> output`, that need no server.

`semantic` extracts memories from conversations into a store; `prompts` improves prompts by conversations and feedback.
"""

# The functions, which from here on hide the modules of their names: `langmem_dspy.graphs.semantic` is what is called.
from langmem_dspy.graphs.prompts import prompts
from langmem_dspy.graphs.semantic import semantic

__all__ = ["prompts", "semantic"]
