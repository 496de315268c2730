"""dspy.GEPA (Agrawal et al., 2025, arXiv:2507.19457) with its own settings, until the budget is spent."""

from __future__ import annotations

import dspy
from student import CALLS_AT_ONCE, Student, compile_with

PATIENCE = 4  # rollouts, cached ones included, for each that the budget pays for


def work(student: Student) -> dspy.Module:
    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        said = student.world.metric(gold, pred, trace, pred_name, pred_trace)
        return dspy.Prediction(
            score=said.score, feedback=said.feedback or f"This trajectory got a score of {said.score}."
        )

    def note(state) -> bool:
        scores = state.program_full_scores_val_set
        best = max(range(len(scores)), key=scores.__getitem__)
        student.desk.report(dict(state.program_candidates[best]))
        return student.desk.spent()

    optimizer = dspy.GEPA(
        metric=metric,
        reflection_lm=student.lm,
        # The desk stops it, if it does not run on from its cache for ever once every minibatch is perfect.
        max_metric_calls=PATIENCE * student.rollouts(1.0),
        num_threads=CALLS_AT_ONCE,
        seed=student.desk.settings["seed"],
        warn_on_score_mismatch=False,
        gepa_kwargs={"stop_callbacks": [note]},
    )
    return optimizer.compile(student.world.program(), trainset=student.world.trainset, valset=student.world.valset)


if __name__ == "__main__":
    compile_with(work)
