"""A text before and after, line by line; in a line that was rewritten, word by word. For notebooks and terminals."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from langmem_dspy.markup import GREEN, RED, Markup, joined, tag, verbatim

if TYPE_CHECKING:
    from rich.text import Text

_MAX_PAIRS = 10_000  # of lines to compare with one another
_WORD = re.compile(r"\s+|\w+|[^\w\s]")

Kind = Literal["same", "gone", "new"]
SIGNS: Mapping[Kind, str] = {"same": " ", "gone": "-", "new": "+"}
_STYLES: Mapping[Kind, str] = {"same": "", "gone": f"background:{RED}", "new": f"background:{GREEN}"}
_COLOURS: Mapping[Kind, str] = {"same": "", "gone": "red", "new": "green"}


@dataclass(frozen=True)
class Piece:
    """Part of a line. `changed`: the other version of the line says something else here."""

    text: str
    changed: bool = False


Pieces = tuple[Piece, ...]


@dataclass(frozen=True)
class DiffLine:
    """A line that is in both texts, in the old one alone or in the new one alone."""

    kind: Kind
    pieces: Pieces

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    def html(self) -> Markup:
        """The pieces, those changed in `<del>` or `<ins>`."""
        name = "del" if self.kind == "gone" else "ins"
        return joined(*(tag(name, piece.text) if piece.changed else piece.text for piece in self.pieces))


def diff_lines(before: str, after: str) -> Iterator[DiffLine]:
    """Every line of both texts, those that were taken out before those that came in their place."""
    old, new = before.splitlines(), after.splitlines()
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from (DiffLine("same", (Piece(line),)) for line in old[i1:i2])
        else:
            yield from _changed(old[i1:i2], new[j1:j2])


def diff_html(before: str, after: str, introduced: Mapping[str, int] | None = None) -> Markup:
    """The whole text, changes in colour. `introduced`: line of `after` -> the step that brought it in."""
    steps = introduced or {}
    lines = []
    for line in diff_lines(before, after):
        step = steps.get(line.text) if line.kind == "new" else None
        note = tag("small", f"  step {step}", style="opacity:.6") if step else ""
        lines.append(tag("div", SIGNS[line.kind], " ", line.html(), note, style=_STYLES[line.kind]))
    return verbatim(joined(*lines))


def diff_text(before: str, after: str) -> Text:
    """The same for a terminal."""
    from rich.text import Text

    shown = Text()
    for line in diff_lines(before, after):
        colour = _COLOURS[line.kind]
        shown.append(f"{SIGNS[line.kind]} ", colour)
        for piece in line.pieces:
            shown.append(piece.text, f"{colour} reverse" if piece.changed else colour)
        shown.append("\n")
    shown.rstrip()
    return shown


def inline_html(before: str, after: str) -> Markup:
    """One short text and what became of it, as one: what went in `<del>`, what came in `<ins>`."""
    parts: list[Markup | str] = []
    for gone, come in _word_pairs(before, after):
        if gone == come:
            parts.append(gone)
            continue
        parts.append(tag("del", gone, style=_STYLES["gone"]) if gone else "")
        parts.append(tag("ins", come, style=_STYLES["new"]) if come else "")
    return joined(*parts)


def _changed(old: list[str], new: list[str]) -> Iterator[DiffLine]:
    left: list[Pieces] = [(Piece(line),) for line in old]
    right: list[Pieces] = [(Piece(line),) for line in new]
    for i, j in _rewritten(old, new):
        left[i], right[j] = _by_words(old[i], new[j])
    yield from (DiffLine("gone", pieces) for pieces in left)
    yield from (DiffLine("new", pieces) for pieces in right)


def _rewritten(old: list[str], new: list[str]) -> Iterator[tuple[int, int]]:
    """Pairs of lines alike enough to be one line in two versions."""
    if len(old) * len(new) > _MAX_PAIRS:
        return
    taken: set[int] = set()
    for i, line in enumerate(old):
        likeness = {
            j: difflib.SequenceMatcher(None, line.split(), other.split(), autojunk=False).ratio()
            for j, other in enumerate(new)
            if j not in taken
        }
        best = max(likeness, key=lambda j: likeness[j], default=None)
        if best is not None and likeness[best] >= 0.5:
            taken.add(best)
            yield i, best


def _by_words(old: str, new: str) -> tuple[Pieces, Pieces]:
    pairs = list(_word_pairs(old, new))
    left = (Piece(gone, gone != come) for gone, come in pairs if gone)
    return tuple(left), tuple(Piece(come, gone != come) for gone, come in pairs if come)


def _word_pairs(old: str, new: str) -> Iterator[tuple[str, str]]:
    """Both texts in the same number of parts; parts that are the same stand for themselves."""
    a, b = _WORD.findall(old), _WORD.findall(new)
    for _, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        yield "".join(a[i1:i2]), "".join(b[j1:j2])
