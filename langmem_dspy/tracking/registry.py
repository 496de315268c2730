"""Prompts of a finished run as versions in MLflow's prompt registry: the student's and the best, each text once.

The alias `best` moves only where a better score was measured on the same data with the same task model: each version
carries the last measurement of a program with it in its tags. Online learning moves `champion` (the version in use,
also when it is rolled back) and `candidate` (one that waits to be promoted). Texts are stored as they are; MLflow reads
`{{name}}` as a variable of its own and leaves everything else alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langmem_dspy.optimizers.results import Candidate, DetailedResults
from langmem_dspy.tracking.history import RunHistory
from langmem_dspy.tracking.identity import prompt_names
from langmem_dspy.tracking.measures import clean
from langmem_dspy.tracking.stores import pages

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

MAX_TEXT = 100_000  # characters that the registry takes
BEST = "best"
# The tag by which MLflow shows a prompt on an experiment's page.
_EXPERIMENTS = "_mlflow_experiment_ids"
# The tag by which MLflow shows on a run's page which prompts it used.
_LINKED = "mlflow.linkedPrompts"


# What must be the same for two scores to be compared.
_COMPARABLE = ("dataset", "task_model")


@dataclass
class Version:
    """One version of a prompt, with the last measurement of a program that had it."""

    number: int
    text: str
    tags: dict[str, str]

    def beats(self, other: Version | None) -> bool:
        """Whether it scored higher on the same data; what was never measured beats nothing."""
        if "score" not in self.tags or other is None:
            return "score" in self.tags
        alike = all(self.tags.get(key) == other.tags.get(key) for key in _COMPARABLE)
        return alike and float(self.tags["score"]) > float(other.tags.get("score", "inf"))


@dataclass(frozen=True)
class PromptRegistry:
    """The registry behind `client`. `run` is the MLflow run that prompts are linked to; `progress` hears of each."""

    client: MlflowClient
    experiment_id: str
    run: str
    progress: Callable[[], None] = lambda: None

    def register(self, history: RunHistory, program: str) -> None:
        """Register the student's and the best prompts of a finished run, and move `best` where it improved."""
        results = history.detailed
        if results is None:
            return
        linked: list[dict[str, str]] = []
        for predictor, name in prompt_names(program, results.baseline.prompts).items():
            if all(holdable(name, c.prompts[predictor]) for c in (results.baseline, results.best)):
                used = self._register(name, predictor, history, results)
                linked += [{"name": name, "version": str(number)} for number in sorted(used)]
            self.progress()
        # Not by `link_prompt_version_to_run`: MLflow 3.17 looks for the run in the process's default store there.
        self.client.set_tag(self.run, _LINKED, json.dumps(linked))

    def put_alias(self, event: Mapping[str, Any], program: str) -> None:
        """Let the alias of a `PromptsVersioned` event point at its texts; versions are made where there are none."""
        about = {"run_id": event["run_id"], "online_version": event["version"], "score": event.get("after")}
        tags = {key: clean(str(value), 1000) for key, value in about.items() if value is not None}
        for predictor, name in prompt_names(program, event["prompts"]).items():
            text = event["prompts"][predictor]
            if not holdable(name, text):
                continue
            said = f"Online learning, version {event['version']}. {event['reason']}"
            number = self.version_of(name, predictor, text, said, tags)
            self.client.set_prompt_alias(name, event["alias"], number)
            self.progress()

    def version_of(self, name: str, predictor: str, text: str, message: str, tags: Mapping[str, str]) -> int:
        """The number of the version with this very text, which is made if there is none."""
        text = _storable(text)
        number = next((v.number for v in self._versions(name, predictor) if v.text == text), None)
        if number is None:
            said = clean(message, 4000)
            number = int(self.client.create_prompt_version(name, text, description=said, tags=dict(tags)).version)
        return number

    def _register(self, name: str, predictor: str, history: RunHistory, results: DetailedResults) -> set[int]:
        """The numbers of the versions that the run began and ended with."""
        versions = self._versions(name, predictor)
        holder = self._holder(name, versions)
        best, used = holder, set()
        for candidate in (results.baseline, results.best):
            text, measured = _storable(candidate.prompts[predictor]), _measurement(history, candidate)
            version = next((v for v in versions if v.text == text), None)
            if version is None:
                message = clean(_message(predictor, candidate, results), 4000)
                made = self.client.create_prompt_version(name, text, description=message, tags=measured)
                version = Version(int(made.version), text, measured)
                versions.append(version)
            else:
                self._measure(name, version, measured)
            best = version if version.beats(best) else best
            used.add(version.number)
        if best is not None and best is not holder:
            self.client.set_prompt_alias(name, BEST, best.number)
        return used

    def _versions(self, name: str, predictor: str) -> list[Version]:
        """What the registry has under `name`, which is made if it is not there."""
        found = self.client.get_prompt(name)
        if found is None:
            tags = {_EXPERIMENTS: f",{self.experiment_id},"}
            self.client.create_prompt(name, description=f"The prompt of predictor {predictor}.", tags=tags)
            return []
        known = [e for e in (found.tags or {}).get(_EXPERIMENTS, "").split(",") if e]
        if self.experiment_id not in known:
            self.client.set_prompt_tag(name, _EXPERIMENTS, f",{','.join([*known, self.experiment_id])},")
        return [Version(int(v.version), v.template, dict(v.tags)) for v in all_versions(self.client, name)]

    def _holder(self, name: str, versions: list[Version]) -> Version | None:
        """The version that holds the alias `best`."""
        number = pointed_at(self.client, name, BEST) if versions else None
        return next((version for version in versions if version.number == number), None)

    def _measure(self, name: str, version: Version, measured: Mapping[str, str]) -> None:
        for key, value in measured.items():
            if version.tags.get(key) != value and key in ("score", *_COMPARABLE):
                self.client.set_prompt_version_tag(name, version.number, key, value)
                version.tags[key] = value


def all_versions(client: MlflowClient, name: str) -> list[Any]:
    """Every version of a prompt as MLflow has it, without its aliases."""
    found = pages(lambda token: client.search_prompt_versions(name, max_results=100, page_token=token))
    return [version for page in found for version in page]


def pointed_at(client: MlflowClient, name: str, alias: str) -> int | None:
    """The number of the version that an alias of the prompt points at, if it points at one."""
    from mlflow.exceptions import MlflowException

    try:
        return int(client.get_prompt_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def holdable(name: str, text: str) -> bool:
    """Whether the registry takes this text; a warning says where it is too long."""
    if len(text) > MAX_TEXT:
        logger.warning("prompt %s has %d characters and is not registered (limit %d)", name, len(text), MAX_TEXT)
    return bool(text.strip()) and len(text) <= MAX_TEXT


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _measurement(history: RunHistory, candidate: Candidate) -> dict[str, str]:
    data = history.started.get("dataset") or {}
    judged_on = data.get("val") or data.get("train") or {}
    measured = {
        "run_id": history.run_id,
        "optimizer": history.started["optimizer"],
        "dataset": judged_on.get("digest"),
        "task_model": (history.started.get("models") or {}).get("task"),
        "simulated": "yes" if history.started.get("simulated") else "no",
        "score": None if candidate.score is None else repr(candidate.score),
    }
    return {key: clean(str(value), 1000) for key, value in measured.items() if value is not None}


def _message(predictor: str, candidate: Candidate, results: DetailedResults) -> str:
    note = " (offline simulation)" if results.simulated else ""
    if candidate.index == 0:
        return f"The student's own, before {results.optimizer}{note}."
    scores = "" if candidate.score is None else f", {results.baseline.score or 0:.3f} → {candidate.score:.3f}"
    # MLflow shows it on one line, above the diff: what each new line is for stands in the run's report.
    steps = sorted({step for _, step in results.introduced_at(predictor) if step})
    new = f" New lines are of step {', '.join(map(str, steps))}." if steps else ""
    return f"{results.optimizer}, step {candidate.step}{scores}{note}.{new}"
