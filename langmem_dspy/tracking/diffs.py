"""A prompt before and after as lines of HTML: which step brought a line in, and which words of it changed."""

from __future__ import annotations

from collections.abc import Mapping

from langmem_dspy.word_diffs import SIGNS, DiffLine, diff_lines


def diff_html(before: str, after: str, introduced: Mapping[str, int]) -> str:
    """`introduced`: line of `after` -> the step that added it. In the classes of report.css."""
    return f'<div class="diff">{"".join(_row(line, introduced) for line in diff_lines(before, after))}</div>'


def _row(line: DiffLine, introduced: Mapping[str, int]) -> str:
    step = introduced.get(line.text) if line.kind == "new" else None
    badge = f'<span class="step" title="added in step {step}">step {step}</span>' if step else ""
    sign = f'<span class="sign">{SIGNS[line.kind]}</span>'
    return f'<div class="line {line.kind}">{sign}<span>{line.html() or "&nbsp;"}</span>{badge}</div>'
