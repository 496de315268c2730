"""MLflow's own door: `mlflow.genai.optimize_prompts` runs our optimizer, and MLflow's scorers judge for it."""

from __future__ import annotations

import threading
from typing import Any

import dspy
import pytest

from langmem_dspy import Budget, simulation
from langmem_dspy.errors import EvaluationError, InputError

RULE = 'If `ticket` mentions "parcel", set `queue` to "logistics".'


@pytest.fixture
def registered(users_mlflow: Any) -> Any:
    users_mlflow.set_experiment("genai")
    return users_mlflow.genai.register_prompt(name="triage", template="Sort `ticket` into a `queue`: {{ticket}}")


def _predict(prompt: Any) -> Any:
    """An application that asks a model with the registered prompt, as MLflow's users write it."""
    lm = simulation.offline_lm("strong")

    def predict(ticket: str) -> str:
        with dspy.context(lm=lm):
            signature = dspy.Signature("ticket -> queue", prompt.template)
            return str(dspy.Predict(signature)(ticket=ticket).queue)

    return predict


def _queue_scorer() -> Any:
    from mlflow.entities import Feedback
    from mlflow.genai.scorers import scorer

    @scorer(name="queue")
    def queue(outputs: str, expectations: dict[str, Any]) -> Feedback:
        right = outputs == expectations["queue"]
        return Feedback(value=float(right), rationale="" if right else RULE)

    return queue


DATA = [
    {"inputs": {"ticket": f"Ticket {n}: my parcel is late"}, "expectations": {"queue": "logistics"}} for n in range(6)
]


@pytest.mark.filterwarnings("ignore")
def test_mlflows_optimize_prompts_runs_our_optimizer_and_registers_the_better_prompt(registered: Any) -> None:
    import mlflow

    from langmem_dspy.tracking.genai import LangMemPromptOptimizer

    optimizer = LangMemPromptOptimizer(simulation.offline_lm("strong"), budget=Budget(metric_calls=60))
    result = mlflow.genai.optimize_prompts(
        predict_fn=_predict(registered),
        train_data=DATA,
        prompt_uris=[registered.uri],
        optimizer=optimizer,
        scorers=[_queue_scorer()],
    )
    [better] = result.optimized_prompts
    assert better.version == 2
    assert "logistics" in better.template and "{{ticket}}" in better.template
    assert (result.initial_eval_score, result.final_eval_score) == (0.0, 1.0)
    assert result.final_eval_score_per_scorer == {"queue": 1.0}
    assert optimizer.last_results is not None and optimizer.last_results.usage.metric_calls <= 60
    [run] = mlflow.search_runs(output_format="list")
    names = {artifact.path for artifact in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"prompts.diff", "detailed_results.json"} <= names


@pytest.mark.filterwarnings("ignore")
def test_without_scorers_no_improvement_is_claimed(registered: Any) -> None:
    import mlflow

    from langmem_dspy.tracking.genai import LangMemPromptOptimizer

    with pytest.raises(EvaluationError, match="scorers="):
        mlflow.genai.optimize_prompts(
            predict_fn=_predict(registered),
            train_data=DATA,
            prompt_uris=[registered.uri],
            optimizer=LangMemPromptOptimizer(simulation.offline_lm()),
        )
    with pytest.raises(InputError, match="train_data"):
        LangMemPromptOptimizer(simulation.offline_lm()).optimize(None, [], {"triage": "Sort."})


def test_mlflows_scorers_are_a_metric_for_our_optimizers() -> None:
    from langmem_dspy.tracking.genai import metric_from_scorers

    metric = metric_from_scorers(_queue_scorer())
    gold = dspy.Example(ticket="my parcel is late", queue="logistics").with_inputs("ticket")

    def judged(queue: str) -> dspy.Prediction:
        return metric(gold, dspy.Prediction(queue=queue))

    # The scorer sees the whole prediction; this one reads a field of it.
    assert judged("logistics").score == 0.0  # {"queue": "logistics"} is not "logistics"
    assert RULE in judged("general").feedback
    with pytest.raises(InputError, match="at least one"):
        metric_from_scorers()


def test_evaluations_that_wait_for_one_another_share_a_call() -> None:
    from mlflow.genai.optimize.types import EvaluationResultRecord

    from langmem_dspy.tracking.genai import EvaluationDesk

    sizes: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def eval_fn(prompts: dict[str, str], records: list[dict[str, Any]]) -> list[EvaluationResultRecord]:
        sizes.append(len(records))
        begun.set()
        assert go_on.wait(10)
        return [EvaluationResultRecord(r, r["n"], {}, 1.0, None, {}, {"s": 1.0}) for r in records]

    desk, got = EvaluationDesk(eval_fn), {}

    def ask(number: int) -> None:
        got[number] = desk.evaluate({"p": "same"}, {"n": number}).outputs

    threads = [threading.Thread(target=ask, args=(0,))]
    threads[0].start()
    assert begun.wait(10)
    threads += [threading.Thread(target=ask, args=(number,)) for number in range(1, 6)]
    for thread in threads[1:]:
        thread.start()
    while len(desk._waiting) < 5:
        pass
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert got == {number: number for number in range(6)}
    assert sizes == [1, 5]
    assert desk.scores_by_scorer({"p": "same"}) == {"s": 1.0}


def test_a_failing_evaluation_fails_everyone_who_waits_for_it() -> None:
    from langmem_dspy.tracking.genai import EvaluationDesk

    def eval_fn(prompts: dict[str, str], records: list[dict[str, Any]]) -> Any:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        EvaluationDesk(eval_fn).evaluate({"p": "x"}, {"n": 1})
