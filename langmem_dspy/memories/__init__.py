"""Flow 1: conversations become typed memories, kept in any store and found again by meaning."""

from langmem_dspy.memories.background import Reflection, ReflectionExecutor
from langmem_dspy.memories.bulk import Outcome, for_each_conversation
from langmem_dspy.memories.enrichment import MemoryPhase, MemoryStoreManager
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.memories.schemas import Delete, Document, Dropped, ExtractedMemory, Insert, Memory, Update
from langmem_dspy.memories.search import MemorySearcher
from langmem_dspy.memories.threads import ThreadExtractor, ThreadSummary
from langmem_dspy.memories.tools import MemoryTool
from langmem_dspy.memories.with_memory import WithMemory

__all__ = [
    "Delete",
    "Document",
    "Dropped",
    "ExtractedMemory",
    "Insert",
    "Memory",
    "MemoryManager",
    "MemoryPhase",
    "MemorySearcher",
    "MemoryStoreManager",
    "MemoryTool",
    "Outcome",
    "Reflection",
    "ReflectionExecutor",
    "ThreadExtractor",
    "ThreadSummary",
    "Update",
    "WithMemory",
    "for_each_conversation",
]
