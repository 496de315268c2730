"""A request cut into sections: which text is a prompt under review, which is evidence, which is the task."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from langmem_dspy.simulation.questions import Question

Kind = Literal["document", "evidence", "known", "guidance", "task"]


@dataclass(frozen=True)
class Section:
    """A part of a request. `label` is what names it: a field, a tag, a heading or the words in front of it."""

    label: str
    text: str
    kind: Kind
    block: bool = False  # it stands in tags or fences


def sections(question: Question) -> list[Section]:
    """The sections of the question, in order; what its instructions say is the first, of kind "task"."""
    if question.form in ("chat", "json", "xml"):
        fields = [Section(name, text, kind_of(name)) for name, text in question.inputs.items()]
        return [Section("", question.instructions, "task"), *fields]
    return _without_bystanders(list(_plain_sections(question.text)))


# --- kinds, by generic vocabulary ---

_KNOWN = re.compile(r"\b(?:earlier|previous(?:ly)?|already|so far|past|known)\b")
_GUIDANCE = re.compile(
    r"\b(?:when|guidance|update instructions?|additional|keep|verbatim|constraints?|tip|limit|skills?)\b"
)
_EVIDENCE = re.compile(
    r"\b(?:examples?|feedback|trajector(?:y|ies)|conversations?|sessions?|traces?|evidence|responses?|outputs?|results?"
    r"|recommend\w*|problems?|lessons?|critiques?|gradients?|context|history|errors?|rewards?|changes|hypothes[ei]s)\b"
)
_HOW_TO_CHANGE = re.compile(
    r"\binstructions? (?:for|on|about|around) (?:\w+ )*?(?:updating|changing|when|how)\b", re.IGNORECASE
)
_DOCUMENT = re.compile(r"\b(?:prompts?|instructions?|variables?|parameters?|system message|modules? def\w+)\b")


def kind_of(label: str) -> Kind:
    words = re.sub(r"[_\W]+", " ", label).lower()
    if _KNOWN.search(words) and not _DOCUMENT.search(words):
        return "known"
    if _GUIDANCE.search(words):
        return "guidance"
    if _EVIDENCE.search(words):
        return "evidence"
    return "document" if _DOCUMENT.search(words) else "task"


# --- plain text: tags, fences, headings ---

_FENCE = re.compile(r"^```[^\n`]*\n(.*?)^```[^\S\n]*$", re.DOTALL | re.MULTILINE)
# Not the tags of a glossary ("<INPUT>: what was asked"), nor those that show the form of an answer ("<A>{text}</A>").
_TAG = re.compile(r"<([A-Za-z][\w-]*)(?:\s[^<>]*)?>(?!\s*(?:: |</\1>|\{[\w ]+\}\s*</))(.{12,}?)</\1>", re.DOTALL)
_HEADING = re.compile(
    r"^(?:#{1,3}(?: |(?=[A-Z]))(?P<marked>[^\n]{2,80})|(?P<plain>[A-Z][\w '-]{2,60}):)[^\S\n]*$", re.MULTILINE
)


def _plain_sections(text: str) -> Iterator[Section]:
    at = 0
    while found := _next_block(text, at):
        start, end, label, inner = found
        before = text[at:start]
        yield from _by_headings(before)
        yield Section(label, inner, _kind_of_block(label, before), block=True)
        at = end
    yield from _by_headings(text[at:])


def _without_bystanders(found: list[Section]) -> list[Section]:
    """What stands under a heading ("Instructions") is no prompt where prompts stand in blocks or under their names.

    Where one block is the variable, what stands in the others is how it was used; criticism of it stands in tags.
    """
    prompts = [s for s in found if s.kind == "document"]
    mere = [s for s in prompts if not (s.block or named(s))]
    if any(s.block and s.label.lower() == "variable" for s in prompts):
        mere += [s for s in prompts if s.block and s.label.lower() != "variable"]
        found = [part for s in found for part in _with_criticism_apart(s)]
    return [replace(s, kind="task") if s in mere else s for s in found] if len(mere) < len(prompts) else found


_CRITICISM = re.compile(r"<FEEDBACK>(.*?)</FEEDBACK>", re.DOTALL)


def _with_criticism_apart(section: Section) -> list[Section]:
    said = _CRITICISM.findall(section.text) if section.kind == "evidence" else []
    return [replace(section, text="\n".join(said)), replace(section, kind="task")] if said else [section]


_SEVERAL = re.compile(r"\b(?:prompts|variables|parameters|modules)\b", re.IGNORECASE)
_NAMED_TEXTS = (
    re.compile(r"^\(str\) (\w+)=(.*?)(?=^\(\w+\) \w+=|\Z)", re.DOTALL | re.MULTILINE),
    re.compile(r"^([a-z]\w*): (.*?)(?=^[a-z]\w*: |\n\n|\Z)", re.DOTALL | re.MULTILINE),
)


def named(section: Section) -> list[tuple[str, str]]:
    """(name, text) of each text in a section of several, that stand there as "name: text" or "(str) name=text"."""
    if section.block or not _SEVERAL.search(section.label):
        return []
    found = next(filter(None, (pattern.findall(section.text) for pattern in _NAMED_TEXTS)), [])
    return [(name, text.strip()) for name, text in found]


def _next_block(text: str, at: int) -> tuple[int, int, str, str] | None:
    fence, tag = _FENCE.search(text, at), _TAG.search(text, at)
    if fence and (not tag or fence.start() <= tag.start()):
        return fence.start(), fence.end(), _words_before(text[at : fence.start()]), fence.group(1)
    if tag:
        return tag.start(), tag.end(), tag.group(1), tag.group(0)
    return None


def _words_before(text: str) -> str:
    """The last paragraph in front of a block, which says what the block is."""
    return text.strip().rpartition("\n")[2][-240:]


def _kind_of_block(label: str, before: str) -> Kind:
    said = _words_before(before)
    kind = kind_of(label)
    if kind == "document" and _HOW_TO_CHANGE.search(said):
        return "guidance"
    if kind == "task":
        kind = kind_of(said)
    return "evidence" if kind == "task" else kind


def _by_headings(text: str) -> Iterator[Section]:
    label, kind, at = "", "task", 0
    for heading in _HEADING.finditer(text):
        if text[at : heading.start()].strip():
            yield Section(label, text[at : heading.start()].strip(), kind)  # type: ignore[arg-type]
        label, at = heading.group("marked") or heading.group("plain"), heading.end()
        kind = kind_of(label)
    if text[at:].strip():
        yield Section(label, text[at:].strip(), kind)  # type: ignore[arg-type]
