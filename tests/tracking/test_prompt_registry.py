from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import made_runs
import pytest

from langmem_dspy import tracking
from langmem_dspy.events import CompileFinished, CompileStarted

Announce = Callable[..., None]


@pytest.fixture
def registry(store: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store)


def track(announce: Announce, run_id: str, *, data: str = "bbbb2222", **scores: Any) -> None:
    """A run on the dataset `data`."""
    first, *rest = made_runs.events(run_id, **scores)
    assert isinstance(first, CompileStarted)
    with tracking.enable():
        announce(replace(first, dataset={"val": {"size": 6, "digest": data}}), *rest)


def names(registry: Any) -> dict[str, str]:
    return {prompt.name.rpartition(".")[2]: prompt.name for prompt in registry.search_prompts()}


def texts(registry: Any, predictor: str) -> list[str]:
    versions = registry.search_prompt_versions(names(registry)[predictor])
    return [version.template for version in sorted(versions, key=lambda version: int(version.version))]


def best(registry: Any, predictor: str) -> Any:
    return registry.get_prompt_version_by_alias(names(registry)[predictor], "best")


def test_the_students_prompt_and_the_best_are_versions(registry: Any, announce: Announce) -> None:
    track(announce, "one")

    assert texts(registry, "classify") == [made_runs.BEFORE["classify"], made_runs.CLASSIFY_2]
    assert texts(registry, "sign") == [made_runs.BEFORE["sign"]]
    assert best(registry, "classify").template == made_runs.CLASSIFY_2


def test_texts_are_kept_letter_by_letter(registry: Any, announce: Announce) -> None:
    track(announce, "one")

    assert texts(registry, "draft")[0] == made_runs.BEFORE["draft"]
    assert "{{literal}}" in texts(registry, "draft")[0] and "{customer}" in texts(registry, "classify")[0]


def test_a_text_that_is_there_is_not_registered_again(registry: Any, announce: Announce) -> None:
    track(announce, "one")
    track(announce, "two")

    assert [len(texts(registry, name)) for name in ("classify", "draft", "sign")] == [2, 2, 1]


def test_best_moves_on_improvement_over_the_same_data(registry: Any, announce: Announce) -> None:
    track(announce, "one", before=0.5, after=0.5)
    assert best(registry, "classify").template == made_runs.BEFORE["classify"]
    track(announce, "two", before=0.5, after=1.0)

    assert best(registry, "classify").template == made_runs.CLASSIFY_2
    assert best(registry, "classify").tags["score"] == "1.0"


def test_best_stays_when_a_later_run_ends_lower(registry: Any, announce: Announce) -> None:
    track(announce, "one", after=1.0)
    rewritten = made_runs.results("two", after=5 / 6)
    last = {**rewritten.best.prompts, "classify": "Another rewrite."}
    lower = replace(rewritten, candidates=(*rewritten.candidates[:3], replace(rewritten.best, prompts=last)))
    first, *_ = made_runs.events("two")
    with tracking.enable():
        announce(first, CompileFinished("two", "max_steps", lower.to_dict()))

    assert "Another rewrite." in texts(registry, "classify")
    assert best(registry, "classify").template == made_runs.CLASSIFY_2


def test_best_stays_when_the_better_score_is_on_other_data(registry: Any, announce: Announce) -> None:
    track(announce, "one", after=5 / 6)
    holder = best(registry, "sign").version
    registry.set_prompt_alias(names(registry)["classify"], "best", 1)  # someone chose the student's own
    registry.set_prompt_version_tag(names(registry)["classify"], 1, "dataset", "cccc3333")
    other = replace(made_runs.results("two", after=1.0))
    started = CompileStarted(
        "two", other.optimizer, {}, other.models, True, made_runs.BEFORE, {"val": {"size": 6, "digest": "bbbb2222"}}
    )
    changed = {**made_runs.BEFORE, "classify": "A third text."}
    baseline = replace(other.candidates[0], prompts=changed)
    result = replace(other, candidates=(baseline, *other.candidates[1:])).to_dict()
    with tracking.enable():
        announce(started, CompileFinished("two", "max_steps", result))

    assert best(registry, "classify").template == made_runs.BEFORE["classify"]
    assert best(registry, "sign").version == holder


def test_nothing_is_called_best_that_was_never_measured(registry: Any, announce: Announce) -> None:
    from mlflow.exceptions import MlflowException

    found = made_runs.results("unmeasured")
    unscored = tuple(replace(candidate, valset_scores={}) for candidate in found.candidates)
    first, *_ = made_runs.events("unmeasured")
    with tracking.enable():
        announce(first, CompileFinished("unmeasured", "no metric", replace(found, candidates=unscored).to_dict()))

    assert len(texts(registry, "classify")) == 2
    with pytest.raises(MlflowException):
        best(registry, "classify")


def test_versions_say_where_they_come_from(registry: Any, announce: Announce) -> None:
    track(announce, "one")
    version = best(registry, "classify")

    assert {"dataset": "bbbb2222", "run_id": "one", "simulated": "yes"}.items() <= version.tags.items()
    assert "step 3" in version.commit_message and "offline simulation" in version.commit_message
    assert version.commit_message.endswith("New lines are of step 1, 3.")


def test_prompts_are_linked_to_their_run_and_experiment(registry: Any, announce: Announce) -> None:
    track(announce, "one")
    experiment = registry.get_experiment_by_name("langmem-dspy").experiment_id
    (run,) = registry.search_runs([experiment])

    assert names(registry)["classify"] in run.data.tags["mlflow.linkedPrompts"]
    assert len(registry.search_prompts(filter_string=f"experiment_id = '{experiment}'")) == 3


def test_the_registry_can_be_left_alone(registry: Any, announce: Announce) -> None:
    with tracking.enable(registry=False):
        announce(*made_runs.events("one"))

    assert list(registry.search_prompts()) == []
