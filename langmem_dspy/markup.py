"""Small pieces of HTML for notebooks: escaped, self-contained, in colours that suit light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

# Half-transparent over whatever the page has, so that the text keeps the page's own colour.
GREEN, RED = "rgba(46,160,67,.25)", "rgba(248,81,73,.22)"
_CELL = "text-align:left;vertical-align:top"


class Markup(str):
    """Text that is HTML already, put into other HTML as it is."""

    __slots__ = ()


def shown(value: Any) -> Markup:
    """Any value as HTML: `Markup` as it is, None as nothing, all else as escaped text."""
    if isinstance(value, Markup):
        return value
    return Markup("" if value is None else escape(str(value)))


def joined(*parts: Any) -> Markup:
    return Markup("".join(map(shown, parts)))


def tag(name: str, *content: Any, style: str = "", title: str = "") -> Markup:
    """An element around `content`."""
    given = "".join(f' {key}="{escape(value)}"' for key, value in (("style", style), ("title", title)) if value)
    return Markup(f"<{name}{given}>{joined(*content)}</{name}>")


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Markup:
    """Rows of cells under a head; "" for no rows."""
    body = [tag("tr", *(tag("td", cell, style=_CELL) for cell in row)) for row in rows]
    top = tag("tr", *(tag("th", name, style=_CELL) for name in head))
    return tag("table", top, *body) if body else Markup()


def folded(summary: Any, *content: Any, unfolded: bool = False) -> Markup:
    """Content behind a line to click on."""
    details = "details open" if unfolded else "details"
    return Markup(f"<{details}>{tag('summary', summary)}{joined(*content)}</details>")


def verbatim(text: Any) -> Markup:
    """Text with its line breaks and spaces, long lines folded."""
    return tag("div", text, style="font-family:monospace;white-space:pre-wrap;text-align:left")


def heat_map(corner: str, columns: Sequence[Any], rows: Mapping[str, Sequence[float]], saying: str) -> Markup:
    """Shares in [0, 1] as shades of red, a row for each name. `saying` follows each cell's percentage as its title."""
    top = tag("tr", *(tag("th", name) for name in (corner, *columns)))
    body = (tag("tr", tag("th", name), *(_heat(share, saying) for share in shares)) for name, shares in rows.items())
    return Markup(f'<table class="heat">{top}{"".join(body)}</table>')


def _heat(share: float, saying: str) -> Markup:
    shade = round(min(max(share, 0.0), 1.0), 2)
    text = f"{share:.2f}".removeprefix("0") if share else "·"
    colour = ";color:#fff" if shade > 0.55 else ""
    style = f"background:rgba(207,34,46,{shade}){colour};text-align:center"
    return tag("td", text, style=style, title=f"{share:.0%} {saying}")
