"""Prompts to and from MLflow's prompt registry by hand: push, pull, list, point an alias, take that back.

A reference is `NAME`, `NAME@alias` or `NAME/version`. `NAME` is one prompt ("HelpDesk-1a2b.triage") or a program, which
stands for all its prompts ("HelpDesk-1a2b"); without alias and version the newest is meant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dspy

from langmem_dspy.errors import InputError, TrackingError
from langmem_dspy.optimizers.prompts import prompt_texts, with_prompts
from langmem_dspy.tracking.identity import program_name, prompt_names
from langmem_dspy.tracking.registry import PromptRegistry, all_versions, holdable, pointed_at
from langmem_dspy.tracking.stores import pages, resolve_experiment, resolve_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Tag of a prompt: where an alias has pointed before, such as "3,5". Moves made here are written down to be undone.
_BEFORE = "langmem_dspy.before."
_REFERENCE = re.compile(r"(?P<name>[\w.-]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>\d+))?", re.ASCII)


@dataclass(frozen=True)
class RegisteredPrompt:
    """One version of a prompt. `score`: of the last program measured with it, a mean in [0, 1]; `created`: in ms."""

    name: str
    version: int
    text: str
    aliases: tuple[str, ...]
    message: str
    score: float | None
    created: int

    def __str__(self) -> str:
        return f"{self.name}/{self.version}{''.join(f' @{alias}' for alias in self.aliases)}"


class PromptVersions:
    """The prompt registry of one store, by `tracking_uri` as for `enable`. Raises `TrackingError` if that is gone."""

    def __init__(self, tracking_uri: str | os.PathLike[str] | None = None) -> None:
        self.store = resolve_store(tracking_uri)
        self.store.check()
        self._client: MlflowClient = self.store.client()

    def versions(self, name: str = "") -> list[RegisteredPrompt]:
        """All versions of the prompt or program `name`, of every prompt if it is empty; the newest of each first."""
        return [version for prompt in self._names(name) for version in self._versions(prompt)]

    def pull(self, reference: str) -> dict[str, RegisteredPrompt]:
        """What a reference means, by registry name. Raises `TrackingError` where a prompt has no such version."""
        name, alias, number = _parsed(reference)
        names = self._names(name)
        if number is not None and names != [name]:
            raise InputError(
                f"{name} has {len(names)} prompts, each with versions of its own: give {names[0]}/{number}"
            )
        found = {prompt: self._chosen(prompt, alias, number) for prompt in names}
        if missing := [prompt for prompt, version in found.items() if version is None]:
            wanted = f"alias {alias!r}" if alias else f"version {number}"
            raise TrackingError(f"{', '.join(missing)} has no {wanted}; `prompts list {name}` tells what there is")
        return {prompt: version for prompt, version in found.items() if version is not None}

    def pull_into(self, program: dspy.Module, reference: str | None = None) -> dspy.Module:
        """A copy of `program` with the prompts that a reference means; predictors it does not name keep theirs.

        None: the newest of this program's own. The name may be another's, such as that of an older form of it.
        """
        name = program_name(program)
        own = prompt_texts(program)
        return with_prompts(program, {**own, **self.texts_for(own, reference or name)})

    def texts_for(self, predictors: Iterable[str], reference: str) -> dict[str, str]:
        """The text of each predictor that a reference has one for. Raises `TrackingError` if it has none of them."""
        pulled = self.pull(reference)
        name, _, _ = _parsed(reference)
        predictors = list(predictors)
        for program in (name, *_prefixes(name)):  # the reference may be of one prompt
            names = prompt_names(program, predictors)
            if texts := {p: pulled[names[p]].text for p in predictors if names[p] in pulled}:
                return texts
        raise TrackingError(f"{name} has {', '.join(pulled)}, but the program has {', '.join(predictors)}")

    def push(
        self,
        prompts: dspy.Module | Mapping[str, str],
        *,
        name: str | None = None,
        alias: str | None = None,
        message: str = "",
        experiment: str | None = None,
    ) -> dict[str, RegisteredPrompt]:
        """Make a version of each prompt (a program's, or texts by predictor), unless there is one with this very text.

        `name`: of the program, its own if None. `alias` then points at these versions; `rollback` takes that back.
        """
        _check_alias(alias)
        if isinstance(prompts, dspy.Module):
            name = name or program_name(prompts)
            prompts = prompt_texts(prompts)
        name = name or self.program_with(prompts)
        if unfit := [predictor for predictor, text in prompts.items() if not holdable(predictor, text)]:
            raise InputError(f"the prompt of {', '.join(unfit)} is empty, or too long for the registry")
        experiment_id = self.store.experiment_id(self._client, resolve_experiment(experiment))
        registry = PromptRegistry(self._client, experiment_id, run="")
        names = prompt_names(name, prompts)
        numbers = {
            names[predictor]: registry.version_of(names[predictor], predictor, text, message or "Pushed by hand.", {})
            for predictor, text in prompts.items()
        }
        if alias:
            self._point(alias, numbers)
        return {prompt: self._version(prompt, number) for prompt, number in numbers.items()}

    def point(self, reference: str, alias: str) -> dict[str, RegisteredPrompt]:
        """Let `alias` point at what a reference means."""
        _check_alias(alias)
        pulled = self.pull(reference)
        self._point(alias, {prompt: version.version for prompt, version in pulled.items()})
        return self.pull(f"{_parsed(reference)[0]}@{alias}")

    def rollback(self, name: str, alias: str) -> dict[str, RegisteredPrompt]:
        """Let `alias` point where it did before it was moved last by `push` or `point`, for each prompt of `name`."""
        names = self._names(name)
        before = {prompt: self._before(prompt, alias) for prompt in names}
        if not any(before.values()):
            raise TrackingError(
                f"{name} has no earlier {alias!r} on record; `prompts alias {name}/VERSION {alias}` sets it"
            )
        for prompt, numbers in before.items():
            if numbers:
                self._client.set_prompt_alias(prompt, alias, numbers[-1])
                self._client.set_prompt_tag(prompt, f"{_BEFORE}{alias}", ",".join(map(str, numbers[:-1])))
        return {prompt: self._version(prompt, numbers[-1]) for prompt, numbers in before.items() if numbers}

    def program_with(self, predictors: Iterable[str]) -> str:
        """The registered program that has exactly these predictors. Raises `InputError` if it is not one."""
        wanted, everything = list(predictors), set(self._names(""))
        fitting = sorted(
            program
            for program in {prefix for prompt in everything for prefix in _prefixes(prompt)}
            if set(prompt_names(program, wanted).values()) == {p for p in everything if p.startswith(f"{program}.")}
        )
        if len(fitting) == 1:
            return fitting[0]
        known = f"{', '.join(fitting)} all have" if fitting else "no program in the registry has"
        raise InputError(f"{known} the predictors {', '.join(wanted)}: say under which --name the prompts belong")

    def _names(self, name: str) -> list[str]:
        """The registered prompts that `name` stands for."""
        if not name:
            return self._search(None)
        if self._client.get_prompt(name) is not None:
            return [name]
        if below := self._search(f"name LIKE '{name}.%'"):
            return below
        some = ", ".join(self._search(None)[:8]) or "none yet; a tracked compile or `prompts push` makes some"
        raise TrackingError(f"no prompt and no program {name!r} in the registry at {self.store.uri}; there are: {some}")

    def _search(self, condition: str | None) -> list[str]:
        found = pages(lambda token: self._client.search_prompts(condition, page_token=token))
        return [prompt.name for page in found for prompt in page]

    def _versions(self, prompt: str) -> list[RegisteredPrompt]:
        # Each is fetched by itself: MLflow leaves the aliases out of a search.
        found = [self._version(prompt, int(version.version)) for version in all_versions(self._client, prompt)]
        return sorted(found, key=lambda version: -version.version)

    def _chosen(self, prompt: str, alias: str | None, number: int | None) -> RegisteredPrompt | None:
        """The version that an alias or a number means, the newest without either."""
        if alias and alias != "latest":
            found = pointed_at(self._client, prompt, alias)
            version = None if found is None else self._version(prompt, found)
            # MLflow takes an alias of digits for a number.
            return version if version is not None and alias in version.aliases else None
        there = (int(version.version) for version in all_versions(self._client, prompt))
        found = max((one for one in there if number in (None, one)), default=None)
        return None if found is None else self._version(prompt, found)

    def _version(self, prompt: str, number: int) -> RegisteredPrompt:
        version: Any = self._client.get_prompt_version(prompt, str(number))
        score = version.tags.get("score")
        return RegisteredPrompt(
            prompt,
            number,
            str(version.template),
            tuple(sorted(version.aliases or ())),
            version.commit_message or "",
            None if score is None else float(score),
            int(version.creation_timestamp or 0),
        )

    def _point(self, alias: str, numbers: Mapping[str, int]) -> None:
        for prompt, number in numbers.items():
            now = pointed_at(self._client, prompt, alias)
            if now is not None:
                told = ",".join(map(str, [*self._before(prompt, alias), now]))
                self._client.set_prompt_tag(prompt, f"{_BEFORE}{alias}", told)
            self._client.set_prompt_alias(prompt, alias, number)

    def _before(self, prompt: str, alias: str) -> list[int]:
        found = self._client.get_prompt(prompt)
        told = (found.tags or {}).get(f"{_BEFORE}{alias}", "") if found else ""
        return [int(number) for number in told.split(",") if number]


def _parsed(reference: str) -> tuple[str, str | None, int | None]:
    match = _REFERENCE.fullmatch(reference.strip())
    if match is None:
        raise InputError(f"{reference!r} is no reference to a prompt: give NAME, NAME@alias or NAME/version")
    version = match["version"]
    return match["name"], match["alias"], None if version is None else int(version)


def _check_alias(alias: str | None) -> None:
    if alias is not None and (not re.fullmatch(r"[A-Za-z][\w-]*", alias) or re.fullmatch(r"latest|v\d+", alias)):
        raise InputError(f"{alias!r} cannot be an alias in MLflow: choose another alias, such as champion")


def _prefixes(prompt: str) -> list[str]:
    """The programs that a prompt may be of: predictors' names have dots too."""
    parts = prompt.split(".")
    return [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]
