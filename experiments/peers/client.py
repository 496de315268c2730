"""What a peer's script needs, in the standard library alone: it runs in an environment without this project.

The desk (`desk.py`) holds the program, the cases and the judge, and serves the model; the peer brings its optimizer.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any


class BudgetSpent(Exception):
    """The desk answers no further call."""


class Desk:
    """The desk of one run. `settings`: what the run was started with; `problem`: the program and its cases."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.problem = self.ask("problem")
        self.random = Random(settings["seed"])

    @classmethod
    def of_this_process(cls) -> Desk:
        """The desk named on the command line."""
        return cls(json.loads(sys.argv[1]))

    def ask(self, verb: str, **asked: Any) -> Any:
        """What the desk answers. Raises `BudgetSpent` when it would need a call it does not give."""
        body = json.dumps(asked).encode()
        request = urllib.request.Request(f"{self.settings['desk']}/{verb}", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 402:
                raise BudgetSpent from error
            raise RuntimeError(error.read().decode()) from error

    @property
    def prompts(self) -> dict[str, str]:
        """The prompts to start from."""
        return dict(self.problem["prompts"])

    def roll_out(self, prompts: Mapping[str, str], cases: Sequence[str]) -> list[dict[str, Any]]:
        """For each case its score, feedback and steps ({predictor, inputs, outputs})."""
        return self.ask("rollouts", prompts=dict(prompts), cases=list(cases))

    def step(self, predictor: str, prompt: str, inputs: Mapping[str, str]) -> dict[str, str]:
        """The outputs of one predictor."""
        return self.ask("step", predictor=predictor, prompt=prompt, inputs=dict(inputs))

    def judge(self, case: str, outputs: Mapping[str, str]) -> dict[str, Any]:
        """The score of a prediction and the feedback on it."""
        return self.ask("judge", case=case, outputs=dict(outputs))

    def report(self, prompts: Mapping[str, str]) -> None:
        """These prompts are what the optimizer would give back now."""
        self.ask("report", prompts=dict(prompts))

    def spent(self) -> bool:
        return bool(self.ask("usage")["spent"])

    def runs(self, stage: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
        """Whether a stage of the problem takes part, given the program's fields so far."""
        only_if = stage["only_if"]
        return only_if is None or fields.get(only_if["field"], "").strip().lower() in map(str.lower, only_if["values"])

    def take(self, stage: Mapping[str, Any], prompt: str, fields: Mapping[str, str]) -> dict[str, str]:
        """The program's fields that a stage writes under `prompt`, from those there are."""
        inputs = {name: fields.get(wired, "") for name, wired in stage["reads"].items()}
        said = self.step(stage["name"], prompt, inputs)
        return {stage["writes"][name]: value for name, value in said.items()}

    def batches(self, size: int) -> Iterator[list[str]]:
        """Cases of the trainset, shuffled anew in every epoch, without end."""
        while True:
            order = self.random.sample(self.problem["train"], len(self.problem["train"]))
            yield from (order[at : at + size] for at in range(0, len(order) - size + 1, size))


def answer_parity(revised: Callable[[Mapping[str, Any], Mapping[str, Any]], str]) -> bool:
    """Whether this process was started by `parity.py`; then its questions are answered, one revised prompt each."""
    settings = json.loads(sys.argv[1])
    if "parity" not in settings:
        return False
    seed_uuids(settings["seed"])
    answers = []
    for evidence in settings["parity"]:
        try:
            answers.append(revised(settings, evidence))
        except Exception as error:  # noqa: BLE001 - the library gave up: the prompt stays, which counts as nothing taken up
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            answers.append(evidence["prompt"])
    print(json.dumps(answers))
    return True


def seed_uuids(seed: int) -> None:
    """Make `uuid4` a function of the seed: ids stand in requests, and a request decides its reply."""
    import uuid

    random = Random(seed)
    uuid.uuid4 = lambda: uuid.UUID(int=random.getrandbits(128), version=4)  # type: ignore[assignment]
