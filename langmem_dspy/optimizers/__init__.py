"""Flow 2: trajectories + feedback -> diagnosis -> credit -> proposal -> evaluation, acceptance -> better prompts."""

from langmem_dspy.optimizers.acceptance import Acceptance, Effect, Helps, Verdict
from langmem_dspy.optimizers.choosing_credit import ChosenCredit
from langmem_dspy.optimizers.contradictions import Contradiction
from langmem_dspy.optimizers.counterfactual import CounterfactualCredit
from langmem_dspy.optimizers.credit import Blame, CreditAssigner, TraceCredit
from langmem_dspy.optimizers.gradient import Gradient
from langmem_dspy.optimizers.kinds import (
    GradientOptimizer,
    MetaPromptOptimizer,
    MultiPromptOptimizer,
    PromptMemoryOptimizer,
)
from langmem_dspy.optimizers.lessons import Draft, Lesson
from langmem_dspy.optimizers.metaprompt import MetaPrompt
from langmem_dspy.optimizers.progress import Progress
from langmem_dspy.optimizers.prompt_memory import PromptMemory
from langmem_dspy.optimizers.prompts import Prompt
from langmem_dspy.optimizers.proposing import Proposer
from langmem_dspy.optimizers.results import Candidate, DetailedResults, Origin, RevisedPrompt
from langmem_dspy.optimizers.teleprompter import PromptOptimizer
from langmem_dspy.optimizers.trajectories import Step, Trajectory

__all__ = [
    "Acceptance",
    "Blame",
    "Candidate",
    "ChosenCredit",
    "Contradiction",
    "CounterfactualCredit",
    "CreditAssigner",
    "DetailedResults",
    "Draft",
    "Effect",
    "Gradient",
    "GradientOptimizer",
    "Helps",
    "Lesson",
    "MetaPrompt",
    "MetaPromptOptimizer",
    "MultiPromptOptimizer",
    "Origin",
    "Progress",
    "Prompt",
    "PromptMemory",
    "PromptMemoryOptimizer",
    "PromptOptimizer",
    "Proposer",
    "RevisedPrompt",
    "Step",
    "TraceCredit",
    "Trajectory",
    "Verdict",
]
