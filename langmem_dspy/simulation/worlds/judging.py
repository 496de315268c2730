"""The judge of a world: scores by the rules, and complains as people do, in part and not always rightly."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dspy

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.effects import satisfied
from langmem_dspy.simulation.phrasing import correct, phrase
from langmem_dspy.simulation.rules import Rule, mentions
from langmem_dspy.simulation.worlds.stage import Stage


@dataclass(frozen=True)
class Voice:
    """How a judge gives feedback. Rates are probabilities for each complaint, unless said otherwise.

    A complaint names the rule and its grounds, unless it is `bare` (what was right in this case, no grounds) or
    `vague` (only that a field is wrong). `wrong`: a rule that is not so, in the place of the true one. `silent`: the
    probability that an example gets no feedback at all. `by_predictor`: {predictor: text} instead of one text.
    `noise`: the standard deviation of an error on the score, new at each repetition. `torn`: someone else contradicts
    the complaint in the same breath.
    """

    complaints: int = 2  # per example, at most
    bare: float = 0.15
    vague: float = 0.15
    wrong: float = 0.08
    silent: float = 0.1
    by_predictor: bool = False
    noise: float = 0.0
    torn: float = 0.0


@dataclass(frozen=True)
class Check:
    """Something the prediction must be, as its gold answer has it. `misfire`: the rule must *not* have been applied."""

    rule: Rule
    misfire: bool = False
    # Of the stages that have the rule; no part of what luck is drawn by.
    owner: str = field(default="", repr=False)


class Judge:
    """The metric of a world, in GEPA's form. A copy is the same judge."""

    def __init__(
        self,
        seed: int,
        rules: Mapping[str, Sequence[Rule]],
        voice: Voice,
        exact: bool = False,
        stages: Sequence[Stage] = (),
    ) -> None:
        self.seed = seed
        self.by_owner = rules
        self.rules = [rule for owned in rules.values() for rule in owned]
        self.stages = {stage.name: stage for stage in stages}
        self.voice = voice
        self.exact = exact
        self._lock = threading.Lock()
        self._repeated: Counter[str] = Counter()

    def __deepcopy__(self, memo: dict[int, Any]) -> Judge:
        return self

    def __call__(
        self, gold: dspy.Example, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
    ) -> dspy.Prediction:
        said = {key: str(value) for key, value in dict(pred).items()}
        truth = {**dict(gold.inputs()), **gold.gold}
        passed, failed = self._checked(said, truth)
        return dspy.Prediction(
            score=self._score(gold.case, said, passed, failed), feedback=self._feedback(gold.case, failed, pred_name)
        )

    def without_noise(self) -> Judge:
        """The same judge, of a steady hand."""
        calm = replace(self.voice, noise=0.0)
        return Judge(self.seed, self.by_owner, calm, self.exact, list(self.stages.values()))

    def _checked(self, said: Mapping[str, str], truth: Mapping[str, str]) -> tuple[int, list[Check]]:
        checks: list[Check] = []
        failed: list[Check] = []
        for name, rules in self.by_owner.items():
            stage = self.stages.get(name)
            if stage is not None and not stage.runs(truth):
                continue
            here = (said, truth) if stage is None else (stage.view(said), stage.view(truth))
            due = list(_due(name, rules, *here))
            checks += due
            failed += [check for check in due if check.misfire or not _met(check.rule, *here)]
        return len(checks) - len(failed), failed

    def _score(self, case: str, said: Mapping[str, str], passed: int, failed: list[Check]) -> float:
        score = float(not failed) if self.exact else passed / max(1, passed + len(failed))
        if not self.voice.noise:
            return score
        key = f"{case}\0{sorted(said.items())}"
        with self._lock:
            nth = self._repeated[key]
            self._repeated[key] += 1
        chance = Chance(self.seed, key)
        error = sum(chance.number("noise", nth, i) for i in range(12)) - 6  # nearly normal, deviation 1
        return min(1.0, max(0.0, score + self.voice.noise * error))

    def _feedback(self, case: str, failed: list[Check], pred_name: str | None) -> str | dict[str, str]:
        chance = Chance(self.seed, f"{case}\0{failed}")
        if pred_name is not None and self.voice.by_predictor:
            failed = [check for check in failed if check.owner == pred_name]
        if chance.happens(self.voice.silent, "silent"):
            failed = []
        chosen = chance.shuffled(failed, "complaints")[: self.voice.complaints]
        said = [(check.owner, self._complaint(check, chance)) for check in chosen]
        if self.voice.by_predictor and pred_name is None:
            return {name: " ".join(text for owner, text in said if owner == name) for name in dict(said)}
        return " ".join(text for _, text in said)

    def _complaint(self, check: Check, chance: Chance) -> str:
        rule, voice = check.rule, self.voice
        luck = chance.number("voice", rule)
        if luck < voice.vague:
            return f"Something about `{rule.field}` is not right."
        if luck < voice.vague + voice.bare and not check.misfire:
            return correct(rule, why=False)
        if luck < voice.vague + voice.bare + voice.wrong:
            rule = self._mistaken(rule, chance)
        elif check.misfire:
            return f"Not every `{rule.field}` should have that. {phrase(rule, int(luck * 100))}"
        said = correct(rule, why=True) if luck > 0.6 else phrase(rule, int(luck * 100))
        if chance.happens(voice.torn, "torn", rule):
            said += f" Someone else says: {phrase(self._mistaken(check.rule, chance))}"
        return said

    def _mistaken(self, rule: Rule, chance: Chance) -> Rule:
        """The rule with the value of another one on the same field."""
        alike = [r for r in self.rules if r.field == rule.field and r.effect == rule.effect and r.value != rule.value]
        return replace(rule, value=chance.pick(alike, "mistaken", rule).value) if alike else rule


def _met(rule: Rule, said: Mapping[str, str], truth: Mapping[str, str]) -> bool:
    return satisfied(rule, said.get(rule.field, ""), truth)


def _due(owner: str, rules: Sequence[Rule], said: Mapping[str, str], truth: Mapping[str, str]) -> Iterator[Check]:
    for rule in rules:
        if rule.fires(truth):
            word = {"avoid": rule.value, "replace": rule.source}.get(rule.effect)
            if word is None or any(mentions(text, word) for text in truth.values()):
                yield Check(rule, owner=owner)
        elif rule.effect in ("start", "end", "mention") and _met(rule, said, truth):
            yield Check(rule, misfire=True, owner=owner)
