"""The documentation names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import langmem_dspy

DOCS = Path(__file__).parent.parent / "docs"


def test_the_reference_has_every_public_name() -> None:
    text = (DOCS / "reference.md").read_text()
    missing = [name for name in langmem_dspy.__all__ if not re.search(rf"\b{name}\b", text) and name != "__version__"]
    assert not missing


def test_every_page_is_in_the_navigation() -> None:
    nav = (DOCS.parent / "mkdocs.yml").read_text()
    assert not [page for page in DOCS.rglob("*.md") if str(page.relative_to(DOCS)) not in nav]
