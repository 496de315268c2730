"""How much memory a run takes as its LM calls grow: peak resident memory, with the journal and tracking on.

    python benchmarks/run_memory.py [--calls 1000 3000 10000] [--no-tracking]

A support desk of four predictors is compiled on the offline simulation, in a process of its own for each budget, on a
training set so large that the budget ends the run. Every request is padded by `--padding` characters of ticket, so that
it is as large as those of real programs. Memory is told in MB: after the imports, at the peak, and per 1,000 calls.
The goal: 10,000 calls in less than 1 GB. About 13 ms of CPU a call. Measured on 2026-11-22 (dspy 3.4.1, MLflow 3.17,
Python 3.11): 273 MB for 910 calls, 302 for 2,672, 432 for 8,831, of which 200 are imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

GOAL_MB = 1000
PADDING = "The customer wrote more, none of which is about the matter at hand. "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--padding", type=int, default=2000, help="characters added to each ticket")
    parser.add_argument("--tracking", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.single:
        print(json.dumps(run(given.calls[0], given.padding, given.tracking)))
        return
    heads = ("calls", "imports, MB", "peak, MB", "MB per 1,000", "journal, MB", "metric calls", "CPU, s")
    print("".join(f"{head:>14}" for head in heads))
    for calls in given.calls:
        found = in_a_process(calls, given.padding, given.tracking)
        found["grown"] = (found["peak"] - found["imports"]) / found["calls"] * 1000
        names = ("calls", "imports", "peak", "grown", "journal", "metric_calls", "cpu")
        print("".join(f"{found[name]:>14,.0f}" for name in names), flush=True)
        if calls >= 10_000 and found["peak"] > GOAL_MB:
            raise SystemExit(f"{found['peak']:.0f} MB are more than {GOAL_MB}")


def in_a_process(calls: int, padding: int, tracking: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--single", "--calls", str(calls), "--padding", str(padding)]
    done = subprocess.run([*command, "--tracking" if tracking else "--no-tracking"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(calls: int, padding: int, tracked: bool) -> dict[str, float]:
    import dspy
    import mlflow  # noqa: F401 - its share of memory is not the run's

    from langmem_dspy import Budget, MultiPromptOptimizer, tracking
    from langmem_dspy.simulation import offline_lm, worlds

    world = worlds.load("support_desk", seed=0, n_train=calls // 4, n_val=calls // 20, n_test=1)
    train, val = ([padded(example, padding) for example in some] for some in (world.trainset, world.valset))
    imports = peak()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if tracked:
            handle = tracking.enable(tracking_uri=f"sqlite:///{Path(folder, 'mlflow.db')}")
            stack.callback(handle.disable)
            stack.callback(handle.flush, 60)
        optimizer = MultiPromptOptimizer(
            metric=world.metric,
            budget=Budget(lm_calls=calls),
            log_dir=Path(folder, "journal"),
            minibatch_size=max(12, calls // 100),
            num_threads=2,
        )
        with dspy.context(lm=offline_lm()):
            compiled: Any = optimizer.compile(world.program(), trainset=train, valset=val)
        used = compiled.detailed_results.usage
        journal = sum(file.stat().st_size for file in Path(folder, "journal").rglob("*")) / 2**20
        stack.close()
    return {
        "calls": used.lm_calls,
        "metric_calls": used.metric_calls,
        "imports": imports,
        "peak": peak(),
        "journal": journal,
        "cpu": time.process_time(),
    }


def padded(example: Any, padding: int) -> Any:
    more = (PADDING * (padding // len(PADDING) + 1))[:padding]
    return example.copy(ticket=f"{example.ticket} {more}")


def peak() -> float:
    """Peak resident memory of this process so far, in MB; Linux tells kilobytes, macOS bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
