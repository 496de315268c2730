"""Rules found in any text: prompts, feedback, trajectories, JSON, lists, in their several phrasings.

A rule fits in one sentence; whatever is not one is passed over. Values stand in quotes, fields are plain words,
with or without backticks.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from functools import lru_cache

from langmem_dspy.simulation.rules import Condition, Effect, Rule

LONGEST_SENTENCE = 600  # characters; a longer one is prose


@dataclass(frozen=True)
class Said:
    """A rule as it stands in a text. `correction`: said of one case ("should have been"), not as an order."""

    rule: Rule
    correction: bool = False


def find_rules(text: str) -> tuple[Rule, ...]:
    """The rules that stand in `text`, in order, each once."""
    return tuple(dict.fromkeys(said.rule for said in find_said(text)))


def find_said(text: str) -> list[Said]:
    """Every mention of a rule in `text`, in order, repetitions included."""
    return [said for line in readable(text).splitlines() if _HINT.search(line) for said in _in_line(line)]


# --- from text to sentences; quoted values become numbered marks, so that nothing in them can end a sentence ---

_HINT = re.compile(r"[\"“'‘]|`.*`|\bwords\b|\bcase\b|\bin [A-Z]")
_JSON_STRING_WITH_ESCAPES = re.compile(r'"(?:[^"\\\n]|\\.)*\\["n](?:[^"\\\n]|\\.)*"')
_QUOTED = re.compile(r"\"([^\"\n`]{1,120})\"|“([^”\n`]{1,120})”|‘([^’\n`]{1,120})’|(?<!\w)'([^'\n`]{1,120})'(?!\w)")
_END = re.compile(r"(?<=[.!?;])\s+|;")


def readable(text: str) -> str:
    """`text` with JSON strings and XML entities decoded, so that quotes in it are quotes."""
    if '\\"' in text or "\\n" in text:
        text = _JSON_STRING_WITH_ESCAPES.sub(_decoded, text).replace('\\"', '"').replace("\\n", "\n")
    if "&" in text and any(entity in text for entity in ("&quot;", "&#", "&lt;", "&amp;")):
        text = html.unescape(text)
    return text


def _decoded(match: re.Match[str]) -> str:
    try:
        return f"\n{json.loads(match.group(0), strict=False)}\n"
    except ValueError:
        return match.group(0)


@lru_cache(maxsize=16384)
def _in_line(line: str) -> tuple[Said, ...]:
    values: list[str] = []

    def mark(match: re.Match[str]) -> str:
        values.append(next(group for group in match.groups() if group is not None))
        return f"\1{len(values) - 1}\1"

    sentences = _END.split(_QUOTED.sub(mark, line))
    return tuple(said for s in sentences if len(s) <= LONGEST_SENTENCE and (said := _in_sentence(s, values)))


# --- from a sentence to a rule ---

_FIELD = r"(?:[Tt]he )?(?:field )?`?[A-Za-z]\w*`?(?: field)?"
_MARK = "\1\\d+\1"
_PARTS = {
    "FIELD": _FIELD.replace("[A-Za-z]\\w*", "(?P<field>[A-Za-z]\\w*)"),
    "SOURCE": r"(?:the )?(?:value of )?`(?P<source>[A-Za-z]\w*)`",
    "VALUE": f"(?P<value>{_MARK})",
    "OLD": f"(?P<old>{_MARK})",
    "MUST NOT": r"(?:must|should|may) (?:not|never)",
    "MUST": r"(?:must|should|has to|have to|needs? to|ought to|shall)(?: always)?",
    "WORDS": r"(?P<words>\d+) words",
    "CASE": r"(?P<word>upper|lower|title)[ -]?case",
    "LANGUAGE": r"(?P<word>(?-i:[A-Z])[a-z]+(?:ish|an|ch|ese))",
}
_ORDERS: tuple[tuple[Effect, str], ...] = (
    ("set", "(?:set|route|change) <FIELD> to <VALUE>"),
    ("set", "(?:use|choose|pick|answer|give|assign|write) <VALUE> (?:as|for) <FIELD>"),
    ("set", "(?:label|mark) <FIELD> as <VALUE>"),
    ("set", "<FIELD> (?:<MUST> (?:be|have been)|is always) <VALUE>"),
    ("start", "(?:start|begin|open) <FIELD> with <VALUE>"),
    ("start", "put <VALUE> at the (?:start|beginning) of <FIELD>"),
    ("start", "<FIELD> <MUST> (?:start|begin|open|have started|have begun) with <VALUE>"),
    ("end", "(?:end|close|finish) <FIELD> with <VALUE>"),
    ("end", "put <VALUE> at the end of <FIELD>"),
    ("end", "<FIELD> <MUST> (?:end|close|finish|have ended) with <VALUE>"),
    ("avoid", "(?:never|do not|don't|avoid) (?:(?:write|use|say|mention|writing|using|saying) )?<VALUE> in <FIELD>"),
    ("avoid", "(?:leave|keep) <VALUE> out of <FIELD>"),
    ("avoid", "<FIELD> <MUST NOT> (?:contain|mention|use|say|include|have contained|have mentioned) <VALUE>"),
    ("replace", "(?:write|say|use) <VALUE> instead of <OLD> in <FIELD>"),
    ("replace", "replace <OLD> (?:by|with) <VALUE> in <FIELD>"),
    ("replace", "<FIELD> <MUST> (?:say|use|have said) <VALUE> instead of <OLD>"),
    ("mention", "(?:mention|include|add|say) <VALUE> in <FIELD>"),
    ("mention", "<FIELD> <MUST> (?:mention|include|contain|say|have mentioned|have included) <VALUE>"),
    ("quote", "(?:quote|repeat|include|mention|cite) <SOURCE> in <FIELD>"),
    ("quote", "<FIELD> <MUST> (?:quote|repeat|include|mention|cite|have repeated|have quoted) <SOURCE>"),
    ("limit", "(?:keep|limit) <FIELD> (?:within|under|below|to|to at most) <WORDS>"),
    ("limit", "<FIELD> <MUST> (?:have|be|have had) (?:at most|no more than) <WORDS>"),
    ("case", "(?:write|put|give) <FIELD> in <CASE>"),
    ("case", "<FIELD> <MUST> (?:be|have been)(?: written)? in <CASE>"),
    ("language", "(?:write|answer|give) <FIELD> in <LANGUAGE>"),
    ("language", "<FIELD> <MUST> (?:be|have been)(?: written)? in <LANGUAGE>"),
)


def _compiled(pattern: str) -> re.Pattern[str]:
    for name, part in _PARTS.items():
        pattern = pattern.replace(f"<{name}>", part)
    return re.compile(pattern, re.IGNORECASE)


_PATTERNS = tuple((effect, _compiled(pattern)) for effect, pattern in _ORDERS)

_CONDITION = re.compile(
    rf"({_FIELD}) ((?:does not |doesn't |do not )?(?:mentions?|contains?|includes?|says?|talks? about|refers? to)"
    rf"|is not|isn't|is|equals|was) (?:the words? )?({_MARK}(?:(?:,| or|, or) {_MARK})*)"
)
_ONE = _CONDITION.pattern.replace("(", "(?:").replace("(?:?:", "(?:")
_GROUNDS = re.compile(
    r"(?:^|(?<=[\s,:>('\"]))(?i:if|when|whenever|where|in case|because|since|as|once|provided(?: that)?|given that) "
    rf"({_ONE}(?: and {_ONE})*)"
)
_LEAD = re.compile(
    rf"^\s*(?:</?\w[^>]*>\s*)*[^\w`\1]*(?:(?:{_MARK}|[\w ]{{1,40}}):[\s'\"*\[({{]*)?(?:\d+[.)]\s*)?"
    r"(?:(?i:please|also|then|always|and|but|so|next|remember to|make sure (?:that|to)|ensure that|note that"
    r"|you (?:must|should))[, ]+)*"
)
_TAIL = re.compile(r"(?:[\s,.;:!?)\]}'\"*\\]+|</\w[^>]*>|,? (?i:then|here|in this case|in that case|in such cases))$")


def _in_sentence(sentence: str, values: list[str]) -> Said | None:
    grounds = _GROUNDS.search(sentence)
    when: tuple[Condition, ...] = ()
    order = sentence
    if grounds:
        when = tuple(_condition(match, values) for match in _CONDITION.finditer(grounds.group(1)))
        order = f"{sentence[: grounds.start()].rstrip()} {sentence[grounds.end() :].lstrip(' ,:')}"
    order = _bare(order)
    for effect, pattern in _PATTERNS:
        if match := pattern.fullmatch(order):
            return Said(_rule(effect, match, when, values), correction=" should" in order and " have " in order)
    return None


def _bare(order: str) -> str:
    order = _LEAD.sub("", order.strip(), count=1)
    while (shorter := _TAIL.sub("", order)) != order:
        order = shorter
    return order


def _condition(match: re.Match[str], values: list[str]) -> Condition:
    field, relation, marks = match.groups()
    negated = " not" in relation or "n't" in relation
    equal = relation.startswith(("is", "equals", "was"))
    options = tuple(_value(mark, values) for mark in re.findall(_MARK, marks))
    return Condition(_field(field), "is" if equal else "mentions", options, negated)


def _rule(effect: Effect, match: re.Match[str], when: tuple[Condition, ...], values: list[str]) -> Rule:
    found = match.groupdict()
    value = found.get("words") or found.get("word") or _value(found.get("value"), values)
    source = found.get("source") or _value(found.get("old"), values)
    return Rule(_field(found["field"]), effect, value, source.lower() if effect == "quote" else source, when)


def _value(mark: str | None, values: list[str]) -> str:
    return values[int(mark.strip("\1"))] if mark else ""


def _field(words: str) -> str:
    """The bare name in "the field `name`"."""
    return re.sub(r"^(?:the )?(?:field )?`?|`?(?: field)?$", "", words, flags=re.IGNORECASE).lower()
