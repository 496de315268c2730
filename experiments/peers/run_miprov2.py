"""dspy.MIPROv2 (Opsahl-Ong et al., 2024, arXiv:2406.11695), its trials sized to the budget.

It proposes instructions from the program, the data and bootstrapped examples; it reads no feedback.
"""

from __future__ import annotations

import dspy
from student import CALLS_AT_ONCE, Student, compile_with

CANDIDATES, MINIBATCH, FULL_EVERY = 5, 10, 5


def work(student: Student) -> dspy.Module:
    world = student.world
    val = len(world.valset)
    # A full evaluation at the start and at the end, and one after each FULL_EVERY minibatches.
    trials = max(1, (student.rollouts(0.75) - 2 * val) * FULL_EVERY // (MINIBATCH * FULL_EVERY + val))
    optimizer = dspy.MIPROv2(
        metric=student.score,
        auto=None,
        num_candidates=CANDIDATES,
        max_bootstrapped_demos=2,
        max_labeled_demos=2,
        num_threads=CALLS_AT_ONCE,
        seed=student.desk.settings["seed"],
    )
    return optimizer.compile(
        world.program(),
        trainset=world.trainset,
        valset=world.valset,
        num_trials=trials,
        minibatch_size=MINIBATCH,
        minibatch_full_eval_steps=FULL_EVERY,
    )


if __name__ == "__main__":
    compile_with(work)
