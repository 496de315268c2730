"""`langmem-dspy memories ...`: make memories from conversations, and look at those that are there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.types import ExistingFile, File, NonNegativeInt, PositiveInt

from langmem_dspy.cli.memories_extract import extract
from langmem_dspy.cli.memories_options import ANYWHERE, STORE, NamespaceOptions, StoreOptions, reaching
from langmem_dspy.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from langmem_dspy.records import Item
    from langmem_dspy.store.faiss_store import FaissStore

Switch = Annotated[bool, Parameter(negative=(), show_default=False)]

memories = App(
    name="memories",
    help_format="markdown",
    help="""
Turn conversations into memories, and look at what is remembered.

**Start here**: `langmem-dspy memories extract chats.jsonl`, then `langmem-dspy memories search "favourite pie"`. A line
of chats.jsonl is a conversation: `{"messages": [{"role": "user", "content": "I really like shoo-fly pie."}]}`.

A **store** is a folder (`--store`, by default `./memories`); what is written there is durable. Inside, a **namespace**
such as `memories/ann` keeps one user's memories apart from another's. In Python the same store is
`langmem_dspy.store.FaissStore("memories")`.
""",
)
memories.command(extract)


@memories.command
def search(
    query: str,
    /,
    *,
    limit: PositiveInt = 10,
    mode: Literal["hybrid", "lexical", "dense"] = "hybrid",
    min_score: float | None = None,
    filter: str | None = None,
    explain: Switch = False,
    json: Switch = False,
    where: NamespaceOptions = ANYWHERE,
    store: StoreOptions = STORE,
) -> None:
    """Find memories by meaning, best first.

    Parameters
    ----------
    query
        What to look for, in your own words.
    limit
        How many at most.
    mode
        By words and vectors together (hybrid), by words alone (lexical), by vectors alone (dense).
    min_score
        Leave out what scores less. Default: what has nothing to do with the query at all.
    filter
        JSON on the stored values: '{"kind": "Profile"}', '{"content.age": {"$gte": 18}}'.
    explain
        Show what each score is made of.
    json
        Print JSON, one memory a line, for other programs.
    """
    if not query.strip():
        raise InputError("the query is empty; `memories list` shows all that is remembered")
    with store.opened() as opened:
        found = opened.search(
            where.resolved(),
            query=query,
            limit=limit,
            mode=mode,
            min_score=min_score,
            filter=_object(filter),
            explain=explain,
            refresh_ttl=False,
        )
    if min_score is None:
        found = [item for item in found if item.score is not None and item.score > 0]
    _print_items(found, json, "Nothing was found.", explain=explain)


@memories.command(name="list")
def list_(
    *,
    limit: PositiveInt = 50,
    offset: NonNegativeInt = 0,
    namespaces: Switch = False,
    json: Switch = False,
    where: NamespaceOptions = ANYWHERE,
    store: StoreOptions = STORE,
) -> None:
    """Show what is remembered, or by `--namespaces` whose memories there are.

    Parameters
    ----------
    limit
        How many at most.
    offset
        How many to leave out before.
    namespaces
        Show the namespaces instead of what is in them.
    json
        Print JSON, one memory or namespace a line, for other programs.
    """
    console = _console()
    with store.opened() as opened:
        inside = where.resolved()
        if namespaces:
            found = opened.list_namespaces(prefix=inside or None, limit=limit, offset=offset)
            _print_lines(console, (_dumped(list(n)) if json else "/".join(n) for n in found))
            if not found and not json:
                console.print("No memories.")
            return
        items = opened.search(inside, limit=limit, offset=offset, refresh_ttl=False)
        more = bool(opened.search(inside, limit=1, offset=offset + limit, refresh_ttl=False))
    _print_items(items, json, "No memories.")
    if more and not json:
        console.print(f"[dim]There are more: --offset {offset + limit}, or a larger --limit.[/]")


@memories.command
def show(
    key: str,
    /,
    *,
    json: Switch = False,
    where: NamespaceOptions = ANYWHERE,
    store: StoreOptions = STORE,
) -> None:
    """Show everything about one memory: its fields, and the conversation it comes from.

    Parameters
    ----------
    key
        Its key, or as much of its beginning as tells it apart.
    json
        Print JSON, for other programs.
    """
    from langmem_dspy.cli.memories_tables import item_table

    with store.opened() as opened:
        item = _find(opened, where.resolved(), key)
    console = _console()
    if json:
        _print_lines(console, [_dumped(item.dict())])
    else:
        console.print(item_table(item))


@memories.command
def history(
    key: str,
    /,
    *,
    where: NamespaceOptions = ANYWHERE,
    store: StoreOptions = STORE,
) -> None:
    """Show how one memory came to say what it says: every change of it, oldest first.

    Of a memory that was deleted, give the whole key and its `--namespace`.

    Parameters
    ----------
    key
        Its key, or as much of its beginning as tells it apart.
    """
    from langmem_dspy.cli.memories_tables import history_table

    with store.opened() as opened:
        inside = where.resolved()
        revisions = opened.history(inside, key) if inside else []
        if not revisions:
            item = _find(opened, inside, key)
            revisions = opened.history(item.namespace, item.key)
    _console().print(history_table(revisions))


@memories.command
def export(file: File, /, *, store: StoreOptions = STORE) -> None:
    """Write all memories to a JSONL file, an item a line; `load` reads it again. Vectors and history stay behind.

    Parameters
    ----------
    file
        Where to write.
    """
    with store.opened() as opened, reaching(file):
        count = opened.export(file)
    _console().print(f"{count:,} memories written to {file}.", highlight=False)


@memories.command
def load(file: ExistingFile, /, *, store: StoreOptions = STORE) -> None:
    """Put the memories of an exported file into a store, which is made if it is missing.

    Parameters
    ----------
    file
        What `export` has written.
    """
    with store.opened(create=True) as opened:
        count = opened.load(file)
    _console().print(f"{count:,} memories loaded into {store.store}.", highlight=False)


@memories.command
def check(*, store: StoreOptions = STORE) -> None:
    """Say whether a store is whole, and what is in it. Exits with 1 if it is not whole."""
    with store.opened() as opened:
        problems, stats = opened.check(), opened.stats()
    console = _console()
    console.print(
        f"{stats['items']:,} memories in {stats['namespaces']:,} namespaces, {stats['revisions']:,} revisions, "
        f"{stats['bytes'] / 1e6:.1f} MB; embedder {stats['embedder']}",
        highlight=False,
    )
    for problem in problems:
        console.print(f"[red]✗[/] {problem}", highlight=False)
    if problems:
        sys.exit(1)
    console.print("[green]✓[/] The store is whole.")


# --- finding and printing ---


def _find(store: FaissStore, namespace: tuple[str, ...], key: str) -> Item:
    """The one item whose key begins with `key`."""
    if namespace and (exact := store.get(namespace, key, refresh_ttl=False)):
        return exact
    everything = store.search(namespace, limit=2**31, refresh_ttl=False)
    begun = [item for item in everything if item.key.startswith(key)]
    found = [item for item in begun if item.key == key] or begun
    if len(found) == 1:
        return found[0]
    where = "/".join(namespace) or "this store"
    if not found:
        raise InputError(f"no memory in {where} has a key that begins with {key!r}; `memories list` shows the keys")
    several = ", ".join(f"{item.key} of {'/'.join(item.namespace)}" for item in found[:5])
    raise InputError(
        f"{len(found)} memories have a key that begins with {key!r}: {several}; give more of it, or its --namespace"
    )


def _object(text: str | None) -> dict[str, Any] | None:
    from langmem_dspy.cli.loading import json_object

    return None if text is None else json_object(text, "--filter")


def _print_items(items: list[Any], as_json: bool, none: str, *, explain: bool = False) -> None:
    from langmem_dspy.cli.memories_tables import items_table

    console = _console()
    if as_json:
        _print_lines(console, (_dumped(item.dict()) for item in items))
    else:
        console.print(items_table(items, explain=explain) if items else none)


def _print_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _console() -> Console:
    from rich.console import Console

    return Console()
