"""dspy.SIMBA, its minibatches and steps sized to the budget.

The metric's feedback reaches it as part of the reward, as its documentation offers.
"""

from __future__ import annotations

import dspy
from student import CALLS_AT_ONCE, Student, compile_with

BATCH, CANDIDATES, STEPS = 8, 3, 5


def work(student: Student) -> dspy.Module:
    world = student.world
    # Per step CANDIDATES rollouts of each case and as many evaluations; at the end the trainset for each step's winner.
    per_step = 2 * BATCH * CANDIDATES + len(world.trainset)
    steps = max(1, min(STEPS, (student.rollouts(0.95) - len(world.trainset)) // per_step))

    def metric(example, prediction):
        return world.metric(example, prediction)

    optimizer = dspy.SIMBA(
        metric=metric,
        bsize=BATCH,
        num_candidates=CANDIDATES,
        max_steps=steps,
        max_demos=0,
        num_threads=CALLS_AT_ONCE,
    )
    return optimizer.compile(world.program(), trainset=world.trainset, seed=student.desk.settings["seed"])


if __name__ == "__main__":
    compile_with(work)
