"""A prompt before and after as lines of HTML: which step brought a line in, and which words of it changed."""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Iterator, Mapping

_MAX_PAIRS = 10_000
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


def diff_html(before: str, after: str, introduced: Mapping[str, int]) -> str:
    """`introduced`: line of `after` -> the step that added it."""
    old, new = before.splitlines(), after.splitlines()
    rows: list[str] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += (_row("same", html.escape(line)) for line in old[i1:i2])
            continue
        removed, added = _marked(old[i1:i2], new[j1:j2])
        rows += (_row("gone", line) for line in removed)
        rows += (_row("new", text, introduced.get(line)) for text, line in zip(added, new[j1:j2], strict=True))
    return f'<div class="diff">{"".join(rows)}</div>'


def _row(kind: str, text: str, step: int | None = None) -> str:
    sign = {"same": " ", "gone": "-", "new": "+"}[kind]
    badge = f'<span class="step" title="added in step {step}">step {step}</span>' if step else ""
    return f'<div class="line {kind}"><span class="sign">{sign}</span><span>{text or "&nbsp;"}</span>{badge}</div>'


def _marked(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Lines as HTML; where a line was rewritten rather than replaced, the words that differ are marked."""
    left, right = [html.escape(line) for line in old], [html.escape(line) for line in new]
    for i, j in _rewritten(old, new):
        left[i], right[j] = _words(old[i], new[j])
    return left, right


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


def _words(old: str, new: str) -> tuple[str, str]:
    a, b = _WORD.findall(old), _WORD.findall(new)
    left, right = [], []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        gone, come = html.escape("".join(a[i1:i2])), html.escape("".join(b[j1:j2]))
        left.append(gone if tag == "equal" or not gone else f"<del>{gone}</del>")
        right.append(come if tag == "equal" or not come else f"<ins>{come}</ins>")
    return "".join(left), "".join(right)
