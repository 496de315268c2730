"""An offline stand-in for a language model, and worlds to try optimizers on. It simulates; it proves little.

The model is an engine for `dspy.LM`. It reads a small controlled English of rules out of its request ("If `ticket`
mentions "refund", set `queue` to "billing".") and plays one of two parts, told from the request alone: the *worker*
carries out the rules that stand in its instructions; the *reviewer* restates rules that stand in the evidence it is
shown, fits them to prompts, and slips as models slip. Advice in plain words is restated, too, but not followed. It
knows no world, no gold answer and no earlier request.

What it proves: that programs, optimizers, budgets, credit, search, persistence and tracking work together, and how
search strategies compare when feedback holds what is to be learned. What it does not prove: anything about a real
model's language, knowledge, judgment, cost or speed. No figure made with it says how well anything works with one;
wherever its figures stand, its name (`offline/simulation-...`) and `fingerprint()` stand with them.

Tokens are counted by one rule: four bytes of UTF-8 each, per message, begun ones counted.
"""

from importlib import import_module
from typing import Any

from langmem_dspy.simulation.endpoint import Endpoint, serve
from langmem_dspy.simulation.engine import SimulatedEngine, is_simulated, offline_lm
from langmem_dspy.simulation.faults import Faults
from langmem_dspy.simulation.freeze import fingerprint
from langmem_dspy.simulation.profiles import Profile

__all__ = [
    "Endpoint",
    "Faults",
    "Profile",
    "SimulatedEngine",
    "fingerprint",
    "is_simulated",
    "offline_lm",
    "serve",
    "worlds",
]


def __getattr__(name: str) -> Any:
    # On first use: nothing that merely talks to the model should have a world at hand.
    if name == "worlds":
        return import_module(f"{__name__}.worlds")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
