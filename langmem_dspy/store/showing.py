"""How a store looks in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langmem_dspy.markup import Markup, folded, joined, table, tag

if TYPE_CHECKING:
    from langmem_dspy.store.faiss_store import FaissStore

_SHOWN = 20  # namespaces, the fullest first


def store_html(store: FaissStore) -> Markup:
    """Its counts and sizes, and behind a line to click on how many items each namespace holds."""
    stats = store.stats()
    head = f"items: {stats['items']:,}, namespaces: {stats['namespaces']:,}, revisions: {stats['revisions']:,}"
    size = f"{stats['bytes'] / 1e6:,.1f} MB"
    counts = sorted(store.counts().items(), key=lambda entry: (-entry[1], entry[0]))
    rows = [("/".join(namespace), f"{count:,}") for namespace, count in counts[:_SHOWN]]
    if len(counts) > _SHOWN:
        rows.append((f"and {len(counts) - _SHOWN:,} more", ""))
    by_namespace = folded("by namespace", table(("namespace", "items"), rows)) if rows else ""
    return tag("div", tag("p", joined(tag("b", repr(store)), ": ", head, "; ", size)), by_namespace)
