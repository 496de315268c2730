"""The public face: the names that are promised, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import langmem_dspy


def test_every_public_name_is_there_sorted_and_nothing_else_is():
    names = langmem_dspy.__all__
    assert names == sorted(names) and len(names) == len(set(names))
    assert all(getattr(langmem_dspy, name) is not None for name in names)


def test_the_names_of_prompt_optimization_are_there():
    promised = {
        "Blame", "Budget", "CreditAssigner", "Gradient", "GradientOptimizer", "MetaPrompt", "MetaPromptOptimizer",
        "MultiPromptOptimizer", "Prompt", "PromptMemory", "PromptMemoryOptimizer", "PromptOptimizer",
        "compare_optimizers", "create_multi_prompt_optimizer", "create_prompt_optimizer",
    }  # fmt: skip
    assert promised <= set(langmem_dspy.__all__)


def run(code: str, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=60)


def test_python_that_strips_docstrings_is_refused_since_they_are_the_prompts():
    refused = run("import langmem_dspy", "-OO")
    assert refused.returncode != 0 and "ImportError" in refused.stderr and "-OO" in refused.stderr
    assert run("import langmem_dspy", "-O").returncode == 0


def test_importing_it_loads_no_heavy_part_and_does_nothing():
    code = (
        "import sys, threading, dspy; before = set(sys.modules)\n"
        "import langmem_dspy\n"
        "heavy = {'mlflow', 'faiss', 'pandas', 'matplotlib', 'fastapi', 'rich.table', 'litellm'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)), threading.active_count())"
    )
    assert run(code).stdout.strip() == "[] 1"
