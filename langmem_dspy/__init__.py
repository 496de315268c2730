"""Long-term memory and prompt optimization for DSPy programs: LangMem's ideas made of DSPy parts."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from langmem_dspy._version import __version__

if sys.flags.optimize >= 2:
    # Signature docstrings are the prompts; -OO strips them, and models would be asked nothing.
    raise ImportError("langmem_dspy cannot run under python -OO, which strips the docstrings that are its prompts")

if TYPE_CHECKING:
    from langmem_dspy.functional import create_multi_prompt_optimizer, create_prompt_optimizer
    from langmem_dspy.memories.background import ReflectionExecutor
    from langmem_dspy.memories.enrichment import MemoryStoreManager
    from langmem_dspy.memories.extraction import MemoryManager
    from langmem_dspy.memories.schemas import ExtractedMemory
    from langmem_dspy.memories.search import MemorySearcher
    from langmem_dspy.memories.showing import memory_table
    from langmem_dspy.memories.with_memory import WithMemory
    from langmem_dspy.memory_factories import (
        create_manage_memory_tool,
        create_memory_enricher,
        create_memory_manager,
        create_memory_searcher,
        create_memory_store_enricher,
        create_memory_store_manager,
        create_search_memory_tool,
        create_thread_extractor,
    )
    from langmem_dspy.namespaces import memory_context
    from langmem_dspy.optimizers.compare import Problem, compare_optimizers
    from langmem_dspy.optimizers.credit import Blame, CreditAssigner
    from langmem_dspy.optimizers.gepa import as_gepa_proposer, as_gepa_selector
    from langmem_dspy.optimizers.gradient import Gradient
    from langmem_dspy.optimizers.kinds import (
        GradientOptimizer,
        MetaPromptOptimizer,
        MultiPromptOptimizer,
        PromptMemoryOptimizer,
    )
    from langmem_dspy.optimizers.metaprompt import MetaPrompt
    from langmem_dspy.optimizers.online import OnlineOptimizer
    from langmem_dspy.optimizers.prompt_memory import PromptMemory
    from langmem_dspy.optimizers.prompts import Prompt
    from langmem_dspy.optimizers.results import DetailedResults
    from langmem_dspy.optimizers.teleprompter import PromptOptimizer
    from langmem_dspy.optimizers.trajectories import Step, Trajectory
    from langmem_dspy.store.faiss_store import FaissStore
    from langmem_dspy.usage import Budget, Usage, UsageReport

# Where each public name lives. They load on first use, so that `import langmem_dspy` costs what `import dspy` costs.
_HOMES = {
    "Blame": "optimizers.credit",
    "Budget": "usage",
    "CreditAssigner": "optimizers.credit",
    "DetailedResults": "optimizers.results",
    "ExtractedMemory": "memories.schemas",
    "FaissStore": "store.faiss_store",
    "Gradient": "optimizers.gradient",
    "GradientOptimizer": "optimizers.kinds",
    "MemoryManager": "memories.extraction",
    "MemorySearcher": "memories.search",
    "MemoryStoreManager": "memories.enrichment",
    "MetaPrompt": "optimizers.metaprompt",
    "MetaPromptOptimizer": "optimizers.kinds",
    "MultiPromptOptimizer": "optimizers.kinds",
    "OnlineOptimizer": "optimizers.online",
    "Problem": "optimizers.compare",
    "Prompt": "optimizers.prompts",
    "PromptMemory": "optimizers.prompt_memory",
    "PromptMemoryOptimizer": "optimizers.kinds",
    "PromptOptimizer": "optimizers.teleprompter",
    "ReflectionExecutor": "memories.background",
    "Step": "optimizers.trajectories",
    "Trajectory": "optimizers.trajectories",
    "Usage": "usage",
    "UsageReport": "usage",
    "WithMemory": "memories.with_memory",
    "as_gepa_proposer": "optimizers.gepa",
    "as_gepa_selector": "optimizers.gepa",
    "compare_optimizers": "optimizers.compare",
    "create_manage_memory_tool": "memory_factories",
    "create_memory_enricher": "memory_factories",
    "create_memory_manager": "memory_factories",
    "create_memory_searcher": "memory_factories",
    "create_memory_store_enricher": "memory_factories",
    "create_memory_store_manager": "memory_factories",
    "create_multi_prompt_optimizer": "functional",
    "create_prompt_optimizer": "functional",
    "create_search_memory_tool": "memory_factories",
    "create_thread_extractor": "memory_factories",
    "memory_context": "namespaces",
    "memory_table": "memories.showing",
}

__all__ = [
    "Blame",
    "Budget",
    "CreditAssigner",
    "DetailedResults",
    "ExtractedMemory",
    "FaissStore",
    "Gradient",
    "GradientOptimizer",
    "MemoryManager",
    "MemorySearcher",
    "MemoryStoreManager",
    "MetaPrompt",
    "MetaPromptOptimizer",
    "MultiPromptOptimizer",
    "OnlineOptimizer",
    "Problem",
    "Prompt",
    "PromptMemory",
    "PromptMemoryOptimizer",
    "PromptOptimizer",
    "ReflectionExecutor",
    "Step",
    "Trajectory",
    "Usage",
    "UsageReport",
    "WithMemory",
    "__version__",
    "as_gepa_proposer",
    "as_gepa_selector",
    "compare_optimizers",
    "create_manage_memory_tool",
    "create_memory_enricher",
    "create_memory_manager",
    "create_memory_searcher",
    "create_memory_store_enricher",
    "create_memory_store_manager",
    "create_multi_prompt_optimizer",
    "create_prompt_optimizer",
    "create_search_memory_tool",
    "create_thread_extractor",
    "memory_context",
    "memory_table",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        try:
            return importlib.import_module(f"{__name__}.{name}")  # `langmem_dspy.tracking` without a further import
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
