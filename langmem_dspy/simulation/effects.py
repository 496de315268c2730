"""What rules do to a text, and whether a text is as a rule wants it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from langmem_dspy.simulation.rules import EXCLUSIVE, Rule, mentions

# The order in which rules are carried out; a later one works on what the earlier ones left.
_ORDER = ("set", "replace", "quote", "mention", "avoid", "language", "start", "end", "case")


def carry_out(rules: Sequence[Rule], text: str, fields: Mapping[str, str]) -> str:
    """`text` after all `rules`, which must speak of one field and fire on `fields`. Of contradicting ones the one
    with more conditions wins, then the later one."""
    rules = without_contradictions(rules)
    limit = next((int(rule.value) for rule in rules if rule.effect == "limit"), None)
    for effect in _ORDER:
        if effect == "quote" and limit is not None:
            text = _shortened(text, limit - _words_to_come(rules, fields))
        for rule in rules:
            if rule.effect == effect:
                text = _done(rule, text, fields)
    return text


def without_contradictions(rules: Sequence[Rule]) -> list[Rule]:
    """`rules` without those that another one overrules."""
    winners: dict[tuple[str, str], Rule] = {}
    for rule in rules:
        slot = _slot(rule)
        if slot not in winners or len(rule.when) >= len(winners[slot].when):
            winners[slot] = rule
    return [rule for rule in rules if winners[_slot(rule)] is rule]


def satisfied(rule: Rule, text: str, fields: Mapping[str, str]) -> bool:
    """Whether `text` is as the effect of `rule` wants it, its conditions aside."""
    said = text.strip().lower()
    value = rule.value.lower()
    if rule.effect == "set":
        return said == value
    if rule.effect == "start":
        return said.startswith(value)
    if rule.effect == "language":
        return f"({value})" in said
    if rule.effect == "end":
        return said.endswith(value)
    if rule.effect == "mention":
        return mentions(text, rule.value)
    if rule.effect == "avoid":
        return not mentions(text, rule.value)
    if rule.effect == "replace":
        return not mentions(text, rule.source)
    if rule.effect == "quote":
        return bool(fields.get(rule.source, "").strip()) and fields[rule.source].strip().lower() in said
    if rule.effect == "limit":
        return len(text.split()) <= int(rule.value)
    return text == _in_case(text, rule.value)


def _slot(rule: Rule) -> tuple[str, str]:
    if rule.effect in EXCLUSIVE:
        return rule.effect, ""
    if rule.effect in ("mention", "avoid"):
        return "word", rule.value.lower()
    return rule.effect, f"{rule.source}\0{'' if rule.effect == 'replace' else rule.value}"


def _done(rule: Rule, text: str, fields: Mapping[str, str]) -> str:
    if rule.effect == "set":
        return rule.value
    if rule.effect == "replace":
        return _replaced(text, rule.source, rule.value)
    if rule.effect == "avoid":
        return re.sub(r"  +", " ", _replaced(text, rule.value, "")).strip()
    if rule.effect == "case":
        return _in_case(text, rule.value)
    if satisfied(rule, text, fields):
        return text
    if rule.effect == "quote":
        return f"{text} ({rule.source}: {fields.get(rule.source, '').strip()})"
    if rule.effect == "mention":
        return f"{text} Note: {rule.value}."
    if rule.effect == "start":
        return f"{rule.value} {text}"
    if rule.effect == "end":
        return f"{text} {rule.value}"
    return f"({rule.value}) {text}"


def _replaced(text: str, old: str, new: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", lambda _: new, text, flags=re.IGNORECASE)


def _words_to_come(rules: Sequence[Rule], fields: Mapping[str, str]) -> int:
    words = {"quote": 1, "mention": 1, "start": 0, "end": 0, "language": 1}
    return sum(
        words[rule.effect] + len((fields.get(rule.source, "") if rule.effect == "quote" else rule.value).split())
        for rule in rules
        if rule.effect in words
    )


def _shortened(text: str, words: int) -> str:
    kept = text.split()
    return text if len(kept) <= words else " ".join(kept[: max(words, 0)])


def _in_case(text: str, case: str) -> str:
    return {"upper": text.upper, "lower": text.lower, "title": text.title}[case]()
