"""Prompts of a finished run as versions in MLflow's prompt registry: the student's and the best, each text once.

The alias `best` moves only where a better score was measured on the same data with the same task model: each version
carries the last measurement of a program with it in its tags. Texts are stored as they are; MLflow reads `{{name}}` as
a variable of its own and leaves everything else alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langmem_dspy.optimizers.results import Candidate, DetailedResults
from langmem_dspy.tracking.history import RunHistory
from langmem_dspy.tracking.identity import prompt_names
from langmem_dspy.tracking.measures import clean

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

MAX_TEXT = 100_000  # characters that the registry takes
BEST = "best"
# The tag by which MLflow shows a prompt on an experiment's page.
_EXPERIMENTS = "_mlflow_experiment_ids"
# The tag by which MLflow shows on a run's page which prompts it used.
_LINKED = "mlflow.linkedPrompts"


@dataclass(frozen=True)
class PromptRegistry:
    """The registry behind `client`; `run` is the MLflow run that prompts are linked to."""

    client: MlflowClient
    experiment_id: str
    run: str

    def register(self, history: RunHistory, program: str) -> None:
        """Register the student's and the best prompts of a finished run, and move `best` where it improved."""
        results = history.detailed
        if results is None:
            return
        names = prompt_names(program, results.baseline.prompts)
        linked: list[dict[str, str]] = []
        for predictor, name in names.items():
            if not all(self._can_hold(name, c.prompts[predictor]) for c in (results.baseline, results.best)):
                continue
            self._make_room(name, predictor, program)
            for candidate in (results.baseline, results.best):
                version = self._version_of(name, predictor, candidate, results)
                self._measure(name, version, _measurement(history, candidate))
                self._promote(name, version)
                link = {"name": name, "version": str(version.version)}
                linked += [] if link in linked else [link]
        # Not by `link_prompt_version_to_run`: MLflow 3.17 looks for the run in the process's default store there.
        self.client.set_tag(self.run, _LINKED, json.dumps(linked))

    def _can_hold(self, name: str, text: str) -> bool:
        held = bool(text.strip()) and len(text) <= MAX_TEXT
        if not held and text:
            logger.warning("prompt %s has %d characters and is not registered (limit %d)", name, len(text), MAX_TEXT)
        return held

    def _make_room(self, name: str, predictor: str, program: str) -> None:
        found = self.client.get_prompt(name)
        if found is None:
            about = f"The prompt of predictor {predictor} in {program}."
            self.client.create_prompt(name, description=about, tags={_EXPERIMENTS: f",{self.experiment_id},"})
            return
        known = [e for e in (found.tags or {}).get(_EXPERIMENTS, "").split(",") if e]
        if self.experiment_id not in known:
            self.client.set_prompt_tag(name, _EXPERIMENTS, f",{','.join([*known, self.experiment_id])},")

    def _version_of(self, name: str, predictor: str, candidate: Candidate, results: DetailedResults) -> Any:
        """The version with this text: the one that is there, or a new one."""
        text = candidate.prompts[predictor].encode("utf-8", "replace").decode()
        version = next((v for v in self._versions(name) if v.template == text), None)
        if version is None:
            message = clean(_message(predictor, candidate, results), 4000)
            version = self.client.create_prompt_version(name, text, description=message)
        return version

    def _versions(self, name: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self.client.search_prompt_versions(name, max_results=100, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _measure(self, name: str, version: Any, measured: Mapping[str, str]) -> None:
        for key, value in measured.items():
            self.client.set_prompt_version_tag(name, version.version, key, value)

    def _promote(self, name: str, version: Any) -> None:
        """Move `best` to `version` if it scored higher than the one that holds it, on the same data."""
        version = self.client.get_prompt_version(name, version.version)
        if "score" not in version.tags:
            return  # nothing was measured, nothing is claimed
        holder = self._holder(name)
        if holder is None or (
            holder.version != version.version
            and all(holder.tags.get(key) == version.tags.get(key) for key in ("dataset", "task_model"))
            and float(version.tags["score"]) > float(holder.tags.get("score", "inf"))
        ):
            self.client.set_prompt_alias(name, BEST, int(version.version))

    def _holder(self, name: str) -> Any | None:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_prompt_version_by_alias(name, BEST)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


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
    lineage = [candidate]
    while lineage[-1].parent is not None:
        lineage.append(results.candidates[lineage[-1].parent])
    revisions = (r for c in lineage for r in c.revisions if r.predictor == predictor and r.changed and not r.declined)
    why = next((r.rationale for r in revisions if r.rationale), "")
    scores = "" if candidate.score is None else f", {results.baseline.score or 0:.3f} → {candidate.score:.3f}"
    return f"{results.optimizer}, step {candidate.step}{scores}{note}. {why}".strip()
