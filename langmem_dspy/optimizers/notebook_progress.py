"""Progress in a notebook: one output brought up to date in place, so that no run leaves a flood of lines behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langmem_dspy.events import CandidateEvaluated, CompileFinished, CompileStarted, Event, StepFinished
from langmem_dspy.markup import Markup, tag, verbatim

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

_RECENT = 8  # lines of a comparison under way


def in_notebook() -> bool:
    """Whether this process answers a notebook; IPython in a terminal does not."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and shell.has_trait("kernel")


class Shown:
    """An output with a text and an HTML form; changing them changes what the reader sees."""

    def __init__(self) -> None:
        self._text, self._html = "", Markup()
        self._handle: DisplayHandle | None = None

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return self._html

    def update(self, text: str, html: Markup) -> None:
        from IPython.display import display

        self._text, self._html = text, html
        if self._handle is None:
            self._handle = display(self, display_id=True)
        else:
            self._handle.update(self)


class NotebookProgress:
    """A listener: the step a compile is at, the best score so far and what was spent, on one line."""

    def __init__(self) -> None:
        self._shown = Shown()
        self._head = self._best = self._step = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, CompileStarted):
            self._shown, self._step, self._best = Shown(), "starting", ""
            self._head = f"{event.optimizer}{' (offline simulation)' if event.simulated else ''}"
        elif isinstance(event, CandidateEvaluated) and event.candidate == 0 and event.split == "valset":
            self._best = self._best or f"student {event.score:.3f}"
        elif isinstance(event, StepFinished):
            best = "" if event.best_score is None else f"best {event.best_score:.3f}, "
            self._best = f"{best}{event.lm_calls} LM calls"
            self._step = f"step {event.step} {'✓' if event.accepted else '·'} {_short(event.reason)}"
        elif isinstance(event, CompileFinished):
            self._best = _gained(event.result or {}) or self._best
            self._step = f"stopped: {event.why}"
        else:
            return
        line = " | ".join(filter(None, (self._head, self._best, self._step)))
        self._shown.update(line, tag("div", line, style="font-size:90%;opacity:.8"))


class NotebookBar:
    """A bar over the runs of a comparison with the latest lines about them; in the end one line is left."""

    def __init__(self, runs: int) -> None:
        self._shown, self._runs, self._now = Shown(), runs, ""
        self._lines: list[str] = []
        self._started = time.monotonic()
        self._draw()

    def advance(self, line: str) -> None:
        self._now = ""
        self._lines.append(line.strip())
        self._draw()

    def tell(self, line: str) -> None:
        self._now = line
        self._draw()

    def end(self) -> None:
        said = f"{len(self._lines)} of {self._runs} runs in {time.monotonic() - self._started:.0f} s"
        self._shown.update(said, tag("div", said, style="font-size:90%;opacity:.8"))

    def _draw(self) -> None:
        done, seconds = len(self._lines), time.monotonic() - self._started
        bar = Markup(f'<progress value="{done}" max="{self._runs}"></progress>')
        text = f"{done} of {self._runs} runs, {seconds:.0f} s"
        lines = [*self._lines[-_RECENT:], *filter(None, [self._now])]
        self._shown.update(text, tag("div", bar, " ", text, verbatim("\n".join(lines))))


def _gained(result: Mapping[str, Any]) -> str:
    """The student's score and the best one; "" for a run without scores."""
    candidates = result.get("candidates") or [{}]
    before, after = candidates[0].get("score"), candidates[result.get("best_index", 0)].get("score")
    return "" if before is None or after is None else f"{before:.3f} → {after:.3f}"


def _short(reason: Any, width: int = 60) -> str:
    text = str(reason)
    return text if len(text) <= width else f"{text[: width - 1]}…"
