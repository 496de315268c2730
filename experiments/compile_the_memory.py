"""Can a memory system be compiled? Its extractor and its query writer are predictors of one program: tune both.

Hypothesis: with the prompts it ships with, a memory system loses facts in two places: the extractor passes them over,
or the query writer does not think of them. Compiled against recall (is the planted fact among what was found?), both
prompts learn what these conversations need, and held-out conversations are remembered better. Baseline: `untuned`.

    langmem-dspy run experiments/compile_the_memory.py
    langmem-dspy sweep experiments/compile_the_memory.py --vary profile=weak,middle,strong
    langmem-dspy run experiments/compile_the_memory.py --model openai/gpt-4.1-mini --seeds 1 --lm-calls 1500

Each example is a few sessions with facts among small talk, and the opening of a later talk that needs one of the facts.
The program remembers the sessions, writes queries for the opening and finds three memories. While it is compiled, every
rollout writes to a scratch view of the user's store; `store_unchanged` says whether the store, which held memories
before, is the same byte for byte afterwards.

Cost: up to lm_calls calls for each variant and seed, plus twice 48 held-out conversations of 4 calls. Offline about a
minute a cell. Without --model the offline simulation answers: its figures say nothing about real models.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import dspy

from langmem_dspy import (
    Budget,
    FaissStore,
    GradientOptimizer,
    MemoryManager,
    MemorySearcher,
    MemoryStoreManager,
    MetaPromptOptimizer,
    MultiPromptOptimizer,
    PromptMemoryOptimizer,
)
from langmem_dspy.experimenting import Cell, ModelOptions, Row, experiment
from langmem_dspy.simulation.worlds.pipeline import instructions
from langmem_dspy.simulation.worlds.remembering import Keepsakes, load_keepsakes

OPTIMIZERS: dict[str, Any] = {
    "gradient": GradientOptimizer,
    "metaprompt": MetaPromptOptimizer,
    "prompt_memory": PromptMemoryOptimizer,
    "multi_prompt": MultiPromptOptimizer,
}


SHOWN = ("recall_held_out", "stored_held_out", "lm_calls", "store_unchanged")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What may be spent, and who answers.

    Parameters
    ----------
    lm_calls
        Budget of each compile, of the program and of reflection together.
    found
        How many memories a search brings.
    num_threads
        Calls at the same time.
    """

    lm_calls: int = 2000
    found: int = 3
    num_threads: int = 4
    models: ModelOptions = ModelOptions()


class Remembering(dspy.Module):
    """`(sessions=, opening=) -> Prediction(stored=, found=)`, texts of memories: a memory system as one program."""

    def __init__(self, store: FaissStore, found: int) -> None:
        super().__init__()
        self.store = store
        self.remember = MemoryStoreManager(MemoryManager(), store, namespace=("memories", "{user_id}"))
        self.recall = MemorySearcher(
            store, namespace=("memories", "{user_id}"), write_queries=True, query_limit=found, limit=found
        )

    def forward(self, sessions: Sequence[Any], opening: str) -> dspy.Prediction:
        user = hashlib.sha256(json.dumps(sessions).encode()).hexdigest()[:12]
        for session in sessions:
            self.remember(messages=session, user_id=user)
        found = self.recall(messages=[{"role": "user", "content": opening}], user_id=user)
        stored = self.store.search(("memories", user), limit=1000)
        return dspy.Prediction(stored=_texts(stored), found=_texts(found["items"]))


@experiment(Config, variants=("untuned", *OPTIMIZERS), baseline="untuned", score="recall_held_out", columns=SHOWN)
def compile_the_memory(cell: Cell[Config]) -> Row:
    """Compile on training conversations, judge on held-out ones."""
    task, reflection = cell.config.models.load(cell.seed)
    world = load_keepsakes(cell.seed)
    with tempfile.TemporaryDirectory() as folder, FaissStore(folder) as store, dspy.context(lm=task):
        store.put(("memories", "ann"), "tea", {"kind": "Memory", "content": "The user likes tea"})
        before = _fingerprint(store)
        program = Remembering(store, cell.config.found)
        compiled, row = program, {"lm_calls": 0, "tokens": 0}
        if cell.variant != "untuned":
            compiled = _compiled(cell, world, program, reflection)
            used = compiled.detailed_results.usage
            row = {"lm_calls": used.lm_calls, "tokens": used.tokens}
        unchanged = _fingerprint(store) == before
    found, stored = _judged(compiled, cell.config, world, task)
    prompts = instructions(compiled)
    (cell.folder / "prompts.json").write_text(json.dumps(prompts, indent=1), encoding="utf-8")
    return {
        "recall_held_out": found,
        "stored_held_out": stored,
        "rules_extract": _learned(world, "operations", prompts["remember.manager.extract"]),
        "rules_query": _learned(world, "queries", prompts["recall.write"]),
        **row,
        "store_unchanged": unchanged,
    }


def _compiled(cell: Cell[Config], world: Keepsakes, program: Remembering, reflection: dspy.BaseLM) -> dspy.Module:
    optimizer = OPTIMIZERS[cell.variant](
        metric=world.metric,
        reflection_lm=reflection,
        budget=Budget(lm_calls=cell.config.lm_calls),
        max_steps=1000,
        seed=cell.seed,
        num_threads=cell.config.num_threads,
    )
    return optimizer.compile(program, trainset=world.trainset, valset=world.valset)


def _judged(compiled: dspy.Module, config: Config, world: Keepsakes, task: dspy.BaseLM) -> tuple[float, float]:
    """On held-out conversations: the share of facts found, and of those stored at all. In a store of its own."""
    with FaissStore() as store, dspy.context(lm=task):
        program = Remembering(store, config.found)
        program.load_state(compiled.dump_state())
        asked = [(program, example) for example in world.testset]
        parallel = dspy.Parallel(num_threads=config.num_threads, max_errors=1, disable_progress_bar=True)
        predictions = parallel(asked)
    pairs = list(zip(predictions, world.testset, strict=True))
    stored = fmean(any(gold.fact in text for text in prediction.stored) for prediction, gold in pairs)
    return fmean(world.metric(gold, prediction).score for prediction, gold in pairs), stored


def _learned(world: Keepsakes, field: str, prompt: str) -> float:
    """The share of what could be taught on a field that the prompt names."""
    rules = world.hidden_rules[field]
    return sum(f'"{rule.value}"' in prompt for rule in rules) / len(rules)


def _texts(items: Sequence[Any]) -> list[str]:
    return [str(item.value["content"]) for item in items]


def _fingerprint(store: FaissStore) -> str:
    """Of everything in the store, its history included."""
    with tempfile.TemporaryDirectory() as folder:
        store.export(Path(folder) / "all.jsonl")
        content = (Path(folder) / "all.jsonl").read_bytes()
    return hashlib.sha256(content + str(store.stats()["revisions"]).encode()).hexdigest()


if __name__ == "__main__":
    compile_the_memory.main()
