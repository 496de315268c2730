"""Long-term memory and prompt optimization for DSPy programs: LangMem's ideas made of DSPy parts."""

import sys

if sys.flags.optimize >= 2:
    # Signature docstrings are the prompts; -OO strips them, and models would be asked nothing.
    raise ImportError("langmem_dspy cannot run under python -OO, which strips the docstrings that are its prompts")

from langmem_dspy._version import __version__
from langmem_dspy.functional import create_multi_prompt_optimizer, create_prompt_optimizer
from langmem_dspy.optimizers.compare import compare_optimizers
from langmem_dspy.optimizers.credit import Blame, CreditAssigner
from langmem_dspy.optimizers.gradient import Gradient
from langmem_dspy.optimizers.kinds import (
    GradientOptimizer,
    MetaPromptOptimizer,
    MultiPromptOptimizer,
    PromptMemoryOptimizer,
)
from langmem_dspy.optimizers.metaprompt import MetaPrompt
from langmem_dspy.optimizers.prompt_memory import PromptMemory
from langmem_dspy.optimizers.prompts import Prompt
from langmem_dspy.optimizers.results import DetailedResults
from langmem_dspy.optimizers.teleprompter import PromptOptimizer
from langmem_dspy.optimizers.trajectories import Step, Trajectory
from langmem_dspy.usage import Budget, Usage, UsageReport

__all__ = [
    "Blame",
    "Budget",
    "CreditAssigner",
    "DetailedResults",
    "Gradient",
    "GradientOptimizer",
    "MetaPrompt",
    "MetaPromptOptimizer",
    "MultiPromptOptimizer",
    "Prompt",
    "PromptMemory",
    "PromptMemoryOptimizer",
    "PromptOptimizer",
    "Step",
    "Trajectory",
    "Usage",
    "UsageReport",
    "__version__",
    "compare_optimizers",
    "create_multi_prompt_optimizer",
    "create_prompt_optimizer",
]
