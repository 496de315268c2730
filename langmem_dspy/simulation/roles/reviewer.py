"""The reviewer: reads prompts and what happened with them, and says what should change; or writes the change.

It takes up only rules that stand in the evidence of its request, a few a call, and fits them to a prompt by the
fields that prompt is about. Recognized by what it is given and asked for, in generic words, not by anyone's phrases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.phrasing import phrase
from langmem_dspy.simulation.profiles import Profile
from langmem_dspy.simulation.questions import Question, Wanted
from langmem_dspy.simulation.roles.documents import Document
from langmem_dspy.simulation.roles.findings import Finding, Review, review_of
from langmem_dspy.simulation.roles.rewriting import care, restored, rewrite
from langmem_dspy.simulation.rules import Rule

_NEW = r"(?:improv|new|propos|revis|updat|better|shorten|mend|optimi[sz]|final|rewrit|refin)\w*"
_PROMPT = r"(?:prompt|instruction|variable|system message)s?"
_NEW_PROMPT = re.compile(rf"\b{_NEW} (?:\w+ )?{_PROMPT}\b|^{_PROMPT}$", re.IGNORECASE)
_VERDICT = re.compile(
    r"\b(?:recommend\w*|chang\w*|blam\w*|lessons?|critiq\w*|diagnos\w*|advice|findings?|warrant\w*|faults?|feedback)\b"
)
_GIVEN = re.compile(r"\b(?:prompts?|instructions?|variable|examples with feedback|trajector\w+|feedback)\b")
_TASK = re.compile(rf"\b{_NEW}\b[^.]{{0,60}}\b{_PROMPT}\b|\b{_PROMPT}\b[^.]{{0,60}}\b{_NEW}\b", re.IGNORECASE)
_NAME = re.compile(r"prompt|name|module|predictor|component")
_RULE = re.compile(r"rule|lesson|change|instruction|text|content|recommend")
_NAMES = re.compile(
    r"\b(?:prompt|module|predictor|component) names?\b|\bnames? of (?:the )?(?:prompt|module|component)s?\b", re.I
)
_SUGGESTION = re.compile(r"suggest|new|improv|updat|revis")
_JSON_KEY = re.compile(r"\"(\w+)\": *(<[^<>\n]+>|\{)")
_GRADIENT = re.compile(r"\b(?:feedback|criticism|critique)\b.{0,80}\b(?:variable|prompt|instructions?)\b", re.I | re.S)


def plays(question: Question) -> bool:
    if question.form == "plain":
        text = question.text
        block = "```" in text or re.search(r"</\w+>", text) is not None or "feedback" in text.lower()
        return block and bool(_TASK.search(text) or _GRADIENT.search(text) or _json_keys(text))
    wants = [_words(wanted.name) for wanted in question.wanted]
    given = [_words(name) for name in question.inputs] if question.form in ("chat", "json", "xml") else [question.text]
    asked = any(_NEW_PROMPT.search(name) or _VERDICT.search(name) for name in wants)
    asked = asked or any(_wants_names(wanted) for wanted in question.wanted)
    return asked and any(_GIVEN.search(name) for name in given)


def answer(question: Question, profile: Profile, chance: Chance) -> dict[str, Any]:
    review = review_of(question, profile, chance)
    if question.form == "plain":
        return {question.wanted[0].name: _plain_answer(question, review, profile, chance)}
    # What a wanted field is to be like is part of the task.
    told = "\n".join([review.task, *(wanted.description for wanted in question.wanted)])
    review = replace(review, task=told)
    return {wanted.name: _value(wanted, review, profile, chance) for wanted in question.wanted}


def _value(wanted: Wanted, review: Review, profile: Profile, chance: Chance) -> Any:
    if wanted.options:
        return _picked(wanted.options, review)
    if wanted.kind == "boolean":
        return bool(review.taken)
    if wanted.kind in ("integer", "number"):
        return len(review.taken)
    if wanted.kind == "array":
        return _list(wanted, review, chance)
    if wanted.kind == "object":
        return {d.name or "prompt": _advice(review.rules_for(d), chance) for d in review.documents}
    if _NEW_PROMPT.search(_words(wanted.name)):
        return _new_prompt(review, profile, chance)
    return _analysis(review, chance)


def _wants_names(wanted: Wanted) -> bool:
    return wanted.kind == "array" and _NAMES.search(wanted.description) is not None


def _list(wanted: Wanted, review: Review, chance: Chance) -> list[Any]:
    items = wanted.schema.get("items") or {}
    properties = items.get("properties") if isinstance(items, dict) else None
    if _wants_names(wanted):
        return review.blamed
    if not properties:
        return [_sentence(finding.rule, chance) for finding in review.taken]
    wants = [Wanted(name, schema) for name, schema in properties.items()]
    names = any(_NAME.search(want.name) for want in wants)
    if names and not any(_RULE.search(want.name) for want in wants):
        return [{want.name: _of_blame(want, name, review, chance) for want in wants} for name in review.blamed]
    return [{want.name: _of_finding(want, finding, chance) for want in wants} for finding in review.taken]


def _of_blame(want: Wanted, name: str, review: Review, chance: Chance) -> Any:
    mine = [finding for finding in review.taken if name == finding.document]
    if want.kind == "array":
        return list(dict.fromkeys(case for finding in mine for case in finding.cases))
    if _NAME.search(want.name):
        return name
    return _advice([finding.rule for finding in mine], chance)


def _of_finding(want: Wanted, finding: Finding, chance: Chance) -> Any:
    if want.kind == "array":
        return list(finding.cases)
    if want.kind in ("boolean", "integer", "number"):
        return True if want.kind == "boolean" else finding.times
    if _NAME.search(want.name):
        return finding.document
    if re.search(r"reason|why|rationale|because", want.name):
        return f"The feedback on {', '.join(finding.cases) or 'the evidence'} asks for it."
    return _sentence(finding.rule, chance)


def _picked(options: Sequence[str], review: Review) -> str:
    return next((name for name in review.blamed if name in options), options[0])


def _new_prompt(review: Review, profile: Profile, chance: Chance) -> str:
    if not review.documents:
        return _advice([finding.rule for finding in review.taken], chance)
    return _rewritten(review.documents[0], review, profile, chance)


def _rewritten(document: Document, review: Review, profile: Profile, chance: Chance) -> str:
    rules = review.rules_for(document)
    before = document.text
    text = rewrite(before, rules, profile, chance, care(review.task)) if rules else before
    return restored(text, review.original.text) if review.original else text


def _analysis(review: Review, chance: Chance) -> str:
    if not review.taken:
        return "The evidence asks for no change."
    return "The feedback asks for this: " + _advice([finding.rule for finding in review.taken], chance)


def _advice(rules: Sequence[Rule], chance: Chance) -> str:
    return " ".join(_sentence(rule, chance) for rule in rules) or "Nothing should change."


def _sentence(rule: Rule, chance: Chance) -> str:
    return phrase(rule, int(chance.number("style", rule) * 12))


def _plain_answer(question: Question, review: Review, profile: Profile, chance: Chance) -> str:
    task = review.task
    if keys := _json_keys(task):
        return json.dumps(_json_answer(keys, review, profile, chance), ensure_ascii=False)
    tag = re.search(rf"<(\w*(?:{_NEW})\w*|new_\w+)>", task, re.IGNORECASE)
    if tag:
        return f"<{tag.group(1)}>{_new_prompt(review, profile, chance)}</{tag.group(1)}>"
    if "```" in task:
        return f"```\n{_new_prompt(review, profile, chance)}\n```"
    if _TASK.search(task) and not _GRADIENT.search(task):
        return _new_prompt(review, profile, chance)
    return _analysis(review, chance)


def _json_keys(task: str) -> dict[str, str]:
    """The keys of a JSON object that the task draws, by what stands behind them; {} if it draws none for prompts."""
    keys = dict(_JSON_KEY.findall(task)) if "json" in task.lower() else {}
    return keys if "{" in keys.values() and any(_SUGGESTION.search(key) for key in keys) else {}


def _json_answer(keys: dict[str, str], review: Review, profile: Profile, chance: Chance) -> dict[str, Any]:
    """Under the key of the suggestion a new text for each prompt that should change; words under the others."""
    texts = {d.name: _rewritten(d, review, profile, chance) for d in review.documents if d.name in review.blamed}
    return {
        key: texts if drawn == "{" and _SUGGESTION.search(key) else _analysis(review, chance)
        for key, drawn in keys.items()
        if not key.startswith("variable")
    }


def _words(name: str) -> str:
    return re.sub(r"[_\W]+", " ", name).strip().lower()
