"""What tracking costs an optimizer: milliseconds an event, wall time of a run, and seconds lost to a bad server.

    python benchmarks/tracking_overhead.py [--steps 40] [--pause 0.5]

A made run announces its events (a step: credit, three revisions, a candidate with 200 scores, the step's end) with a
pause between steps; a step of ten model calls of 100 ms takes a second or more. It is run without tracking, and with
tracking to a SQLite file, to a server that is down, and to one that accepts connections and never answers. For
comparison, the same step is logged by plain MLflow calls in the loop. Figures are wall times of the loop's own thread,
in a process of its own each; CPU is of all its threads, until the last step. The first seconds pay once for importing
MLflow beside the loop and for making the database; the second half does not. The goal: 2 % (`--pause 1`).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

PROMPT = "Read the ticket and fill in the queue.\n" + "If the ticket mentions a refund, the queue is billing.\n" * 12
IDS = tuple(f"example-{number}" for number in range(200))
KINDS = ("no tracking", "SQLite file", "dead server", "hanging server", "plain MLflow calls")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds a step takes by itself")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kind:
        print(json.dumps(run(given.kind, given.steps, given.pause)))
        return
    print(f"{given.steps} steps of {given.pause:g} s")
    heads = ("ms an event", "99th pct", "ms a step", "run, s", "overhead", "2nd half", "end, s", "CPU, s")
    print(" " * 20 + "".join(f"{head:>12}" for head in heads))
    bare: dict[str, float] = {}
    for kind in KINDS:
        found = in_a_process(kind, given.steps, given.pause)
        bare = bare or found
        over = (f"{found[part] / bare[part] - 1:.1%}" for part in ("run", "half"))
        cells = [f"{found[key]:.3f}" for key in ("event", "p99", "step")]
        cells += [f"{found['run']:.2f}", *over, f"{found['end']:.2f}", f"{found['cpu']:.2f}"]
        print(f"{kind:20}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


def in_a_process(kind: str, steps: int, pause: float) -> dict[str, float]:
    command = [sys.executable, __file__, "--kind", kind, "--steps", str(steps), "--pause", str(pause)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(kind: str, steps: int, pause: float) -> dict[str, float]:
    with ExitStack() as stack:
        os.chdir(stack.enter_context(tempfile.TemporaryDirectory()))
        times: list[list[float]] = []
        announce, end = prepared(kind, stack)
        began = half = time.perf_counter()
        computed = time.process_time()
        for number in range(1, steps + 1):
            times.append([timed(announce, event) for event in step(number)])
            time.sleep(pause)
            half = time.perf_counter() if number == steps // 2 else half
        now, computed = time.perf_counter(), time.process_time() - computed
        ended = timed(end)
    flat = [seconds * 1000 for one in times for seconds in one]
    each = statistics.fmean(sum(one) for one in times) * 1000
    p99 = statistics.quantiles(flat, n=100)[98]
    return {
        "event": statistics.fmean(flat),
        "p99": p99,
        "step": each,
        "run": now - began,
        "half": now - half,
        "end": ended,
        "cpu": computed,
    }


def prepared(kind: str, stack: ExitStack) -> tuple[Any, Any]:
    """What announces an event, and what ends it all."""
    from langmem_dspy import tracking
    from langmem_dspy.events import Announcer, CompileStarted

    if kind == "no tracking":
        return Announcer(), lambda: None
    if kind == "plain MLflow calls":
        return plain_calls()
    uri = {"SQLite file": f"sqlite:///{Path('mlflow.db').absolute()}"}.get(kind) or server(kind, stack)
    handle = tracking.enable(tracking_uri=uri)
    announce = Announcer()
    announce(CompileStarted("bench", "Optimizer", {"seed": 0}, {"task": "none"}, False, {"p": PROMPT}, {}))
    return announce, handle.disable


def server(kind: str, stack: ExitStack) -> str:
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    if kind == "hanging server":
        listener.listen(64)
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def plain_calls() -> tuple[Any, Any]:
    """Each event logged where it happens, by MLflow's fluent calls."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{Path('mlflow.db').absolute()}")
    mlflow.start_run()

    def log(event: Any) -> None:
        told = event.to_dict()
        numbers = {key: float(value) for key, value in told.items() if isinstance(value, int | float)}
        mlflow.log_metrics(numbers, step=event.step)
        mlflow.log_dict(told, f"events/{event.step}-{told['event']}.json")

    return log, mlflow.end_run


def step(number: int) -> Iterator[Any]:
    from langmem_dspy.events import CandidateEvaluated, CreditAssigned, PromptRevised, StepFinished

    names = ("triage", "draft", "polish")
    yield CreditAssigned("bench", number, dict.fromkeys(names, "it misses the rule"), dict.fromkeys(names, IDS[:8]))
    for name in names:
        yield PromptRevised("bench", number, name, PROMPT, f"{PROMPT}Rule {number}.", "The feedback says so.")
    yield CandidateEvaluated("bench", number, number, "valset", 0.5, (0.5,) * len(IDS), IDS)
    shares = dict.fromkeys(names, 0.3)
    yield StepFinished("bench", number, number, 0, True, "better", 0.4, 0.5, 0.5, 0.5, shares, number * 30, 1000, 0.0)


def timed(work: Any, *arguments: Any) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
