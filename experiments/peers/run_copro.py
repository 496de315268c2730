"""dspy.COPRO, on as many cases as the budget pays for; it proposes instructions from earlier ones and their scores."""

from __future__ import annotations

import dspy
from student import CALLS_AT_ONCE, Student, compile_with

BREADTH, DEPTH = 3, 2


def work(student: Student) -> dspy.Module:
    world = student.world
    cases = max(2, student.rollouts(0.9) // (BREADTH * DEPTH * len(world.stages) * 2))
    optimizer = dspy.COPRO(metric=student.score, breadth=BREADTH, depth=DEPTH)
    evaluation = {"num_threads": CALLS_AT_ONCE, "display_progress": False}
    return optimizer.compile(world.program(), trainset=world.trainset[:cases], eval_kwargs=evaluation)


if __name__ == "__main__":
    compile_with(work)
