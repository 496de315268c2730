"""What metering, recording and journalling cost on top of DSPy itself: CPU time per LM call.

    python benchmarks/overhead.py [calls]

The model answers at once, so that all the time is the machinery's. Each variant runs the same calls in one thread,
interleaved in rounds; the median round counts. "plain" is `dspy.Predict` in a loop; the others are rollouts of that
program as a compile makes them (a copy of the program, a recorder, a meter, the metric), without and with a journal.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import dspy
from dspy.lm15 import Message, Request, Response, Usage

from langmem_dspy.optimizers.journal import Journal
from langmem_dspy.optimizers.metrics import Metric
from langmem_dspy.optimizers.rollouts import RolloutRunner
from langmem_dspy.usage import Meter

GOAL_MS = 5.0
ROUNDS = 7


class Instant:
    """An engine that answers at once."""

    def complete(self, request: Request) -> Response:
        text = "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"
        return Response(None, request.model, Message.assistant(text), "stop", Usage(100, 5))


def program() -> dspy.Module:
    student = dspy.Predict(dspy.Signature("question -> answer", "Answer the question in one word. " * 10))
    student.demos = [dspy.Example(question=f"q{i}", answer="a") for i in range(4)]
    return student


def metric(gold: dspy.Example, pred: dspy.Prediction, trace: object = None) -> float:
    return 1.0


def milliseconds(work: Callable[[], object], calls: int) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000 / calls


def rollouts(examples: dict[str, dspy.Example], journal: Journal | None, lm: dspy.LM) -> Callable[[], object]:
    runner = RolloutRunner(program(), Metric(metric), Meter(replies=journal), 1, task_lm=lm)
    return lambda: runner.run({"self": "Answer the question in one word."}, examples)


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    lm = dspy.LM("stand-in/instant", engine=Instant(), cache=False)
    spent: dict[str, list[float]] = {"plain": [], "rollout": [], "rollout + journal": []}
    with tempfile.TemporaryDirectory() as folder, dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        for turn in range(ROUNDS):
            data = [dspy.Example(question=f"{turn}.{i}?", answer="yes").with_inputs("question") for i in range(calls)]
            named = {str(i): example for i, example in enumerate(data)}
            plain = program()
            spent["plain"].append(milliseconds(lambda p=plain, d=data: [p(**e.inputs()) for e in d], calls))
            spent["rollout"].append(milliseconds(rollouts(named, None, lm), calls))
            with Journal(f"{folder}/{turn}", {}) as journal:
                spent["rollout + journal"].append(milliseconds(rollouts(named, journal, lm), calls))
    medians = {name: statistics.median(rounds) for name, rounds in spent.items()}
    print(f"CPU per LM call, median of {ROUNDS} rounds of {calls} calls; goal: at most {GOAL_MS:g} ms on top of plain")
    for name, value in medians.items():
        above = value - medians["plain"]
        verdict = "" if name == "plain" else f"  +{above:.2f} ms  {'met' if above <= GOAL_MS else 'MISSED'}"
        print(f"{name:<18} {value:7.2f} ms  x{value / medians['plain']:.2f}{verdict}")


if __name__ == "__main__":
    main()
