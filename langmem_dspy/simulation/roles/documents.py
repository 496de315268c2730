"""The prompts under review in a request, and which rules belong into which of them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.roles.evidence import Flow
from langmem_dspy.simulation.roles.sections import Section, named
from langmem_dspy.simulation.rules import Rule


@dataclass(frozen=True)
class Document:
    """A prompt under review. `name` is "" if the request does not tell; `heed` is when it may change, if told."""

    name: str
    text: str
    heed: str = ""

    @property
    def rules(self) -> tuple[Rule, ...]:
        return find_rules(self.text)

    def step(self, flows: Sequence[Flow]) -> Flow | None:
        """The step this prompt drives: by name, else the one whose fields it speaks of most."""
        for flow in flows:
            if self.name and flow.name == self.name:
                return flow
        if self.name and any(flow.name for flow in flows):
            return None
        spoken = self.spoken
        scored = [(len(flow.writes & spoken) * 2 + len(flow.reads & spoken), flow) for flow in flows]
        best = max((score for score, _ in scored), default=0)
        if best == 0:
            return flows[0] if len(flows) == 1 else None
        return next(flow for score, flow in scored if score == best)

    @property
    def spoken(self) -> set[str]:
        """Every word of it that may be a field."""
        return set(re.findall(r"[a-z]\w+", self.text.lower()))


def documents(sections: Sequence[Section]) -> list[Document]:
    """The prompts under review, in order. Of an original and its revision, the revision comes first."""
    heed = " ".join(s.text for s in sections if s.kind == "guidance" and "when" in s.label.lower())
    found = [
        document
        for section in sorted(sections, key=lambda s: _older(s.label))
        if section.kind == "document"
        for document in _named_documents(section) or [Document("", _in_full(_untagged(section), sections), heed)]
    ]
    return [document for document in found if document.text.strip()]


def belongs(rule: Rule, document: Document, flows: Sequence[Flow], complained_of: Collection[str]) -> bool:
    """Whether `rule` is about what the document's step writes, as far as the request tells.

    `complained_of`: every field that the evidence wants to be different.
    """
    if document.heed and not _heeds(rule, document.heed, flows):
        return False
    if rule.effect == "advice":
        return True
    step = document.step(flows)
    if step is not None and step.writes:
        return rule.field in step.writes
    if any(rule.field in flow.writes for flow in flows):
        return False
    # Without steps to go by: a prompt that speaks of some of these fields is about those.
    return rule.field in document.spoken or document.spoken.isdisjoint(complained_of)


def _heeds(rule: Rule, heed: str, flows: Sequence[Flow]) -> bool:
    if re.match(r"\W*(?:never|do not|don't)\b", heed, re.IGNORECASE):
        return False
    known = {name for flow in flows for name in flow.writes} | {rule.field}
    named = known & (set(re.findall(r"`(\w+)`", heed)) | set(re.findall(r"\w+", heed.lower())))
    return not named or rule.field in named or rule.effect == "advice"


def _older(label: str) -> bool:
    return "original" in label.lower() or "before" in label.lower()


_NAMED = re.compile(r"<(?:prompt|predictor|module|component) name=\"([^\"]+)\"[^>]*>\n?(.*?)\n?</\w+>", re.DOTALL)
_MODULE = re.compile(
    r"^Module (\w+)\n(?:.*?\bInstructions:\s*)?(.*?)(?=^-{8,}$|^Module \w+$|\Z)", re.DOTALL | re.MULTILINE
)
_HEED = re.compile(r"^when_to_update: (.*)$", re.MULTILINE)


def _named_documents(section: Section) -> list[Document]:
    found = _NAMED.findall(section.text) or _MODULE.findall(section.text)
    in_tags = [_with_heed(name, text) for name, text in found]
    listed = [Document(name, text) for name, text in named(section)]
    return in_tags or listed or list(_json_documents(section.text))


def _with_heed(name: str, text: str) -> Document:
    heed = _HEED.search(text)
    return Document(name, _HEED.sub("", text).strip(), heed.group(1) if heed else "")


def _json_documents(text: str) -> Iterator[Document]:
    try:
        value = json.loads(text, strict=False) if text.lstrip().startswith(("[", "{")) else None
    except ValueError:
        return
    if isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values()):
        yield from (Document(str(name), item) for name, item in value.items())
    for item in value if isinstance(value, list) else ():
        if isinstance(item, Mapping) and isinstance(item.get("name"), str):
            body = next((item[k] for k in ("prompt", "instructions", "instruction", "text") if k in item), "")
            yield Document(item["name"], str(body), str(item.get("when_to_update") or ""))


def _in_full(text: str, sections: Sequence[Section]) -> str:
    """`text`, or if its middle is left out ("...") the whole of it where another section has that."""
    head, cut, tail = text.partition(" (...) ")
    if not cut:
        return text
    whole = re.compile(f"{re.escape(head.strip())}.*?{re.escape(tail.strip())}", re.DOTALL)
    found = (match.group() for section in sections for match in whole.finditer(section.text))
    return next((full for full in found if cut not in full), text)


def _untagged(section: Section) -> str:
    return re.sub(r"^\s*<([\w-]+)[^>]*>\n?|\n?</[\w-]+>\s*$", "", section.text)
