"""`langmem-dspy memories extract`: memories from files of conversations, many at once."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.types import ExistingFile, PositiveInt

from langmem_dspy.cli.memories_options import STORE, ExtractionBudget, StoreOptions, template, variables
from langmem_dspy.cli.options import OneModelOptions
from langmem_dspy.errors import InputError

if TYPE_CHECKING:
    from langmem_dspy.cli.memories_progress import Tally
    from langmem_dspy.memories.enrichment import MemoryStoreManager
    from langmem_dspy.store.faiss_store import FaissStore


@Parameter(name="*")
@dataclass(frozen=True)
class Destination:
    """Where the memories go.

    Parameters
    ----------
    namespace
        Labels joined by "/". A {variable} in it is filled by --var, else from beside each conversation in the file.
    var
        Fills a {variable} of the namespace: --namespace memories/{user_id} --var user_id=ann.
    embedder
        What a new store searches by meaning with: local (needs the extra of that name), or a hosted model's name.
        Default: the offline one, which knows shared words and spellings only.
    """

    namespace: str = "memories"
    var: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    embedder: str | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class What:
    """What is remembered.

    Parameters
    ----------
    instructions
        What is worth remembering, in your own words.
    schema
        What a memory looks like: module:Class of a pydantic model, or a file with a JSON schema. Repeat it for
        several. Default: one text.
    kind
        Many memories (multi), or one document that is kept up to date (single).
    deletes
        Let the model delete memories, too.
    """

    instructions: str | None = None
    schema: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    kind: Literal["multi", "single"] = "multi"
    deletes: Annotated[bool, Parameter(negative=(), show_default=False)] = False


@Parameter(name="*")
@dataclass(frozen=True)
class How:
    """How it is done.

    Parameters
    ----------
    concurrency
        Requests to the model at the same time.
    in_order
        Conversations of one namespace wait for each other, so that what was said last holds. Default: those that name
        whose they are, in a {variable} of the namespace, do.
    again
        Also those that were extracted before.
    """

    concurrency: PositiveInt = 16
    in_order: bool | None = None
    again: Annotated[bool, Parameter(negative=(), show_default=False)] = False


_NO_LIMIT, _SIMULATION = ExtractionBudget(), OneModelOptions()


def extract(
    files: list[ExistingFile],
    /,
    *,
    destination: Destination = Destination(),
    what: What = What(),
    how: How = How(),
    budget: ExtractionBudget = _NO_LIMIT,
    models: OneModelOptions = _SIMULATION,
    store: StoreOptions = STORE,
) -> None:
    """Extract memories from conversations and keep them in a store, which is made if it is missing.

    Files: JSONL with a conversation a line, JSON with one or a list of them, or text. A conversation is a list of
    messages (OpenAI's role/content, ShareGPT's from/value, LangChain's dumps), alone or under messages, conversation or
    conversations; `thread_id` and the namespace's variables may stand beside it.

    Whatever happens, run the same command again: what is done is not done twice, and only the rest is paid for. One
    conversation that cannot be read, or fails, does not stop the others. Exits with 1 unless all are done.

    Parameters
    ----------
    files
        The conversations.
    """
    from rich.console import Console

    from langmem_dspy.cli.conversations import read_conversations
    from langmem_dspy.memories.bulk_extraction import BulkExtraction, run_name
    from langmem_dspy.namespaces import memory_context, template_variables

    console = Console()
    lm = models.load()
    models.announce(console, lm)
    given = variables(destination.var)
    open_variables = template_variables(template(destination.namespace)) - set(given)
    read = read_conversations(files, sorted(open_variables))
    with store.opened(create=True, embedder=destination.embedder) as opened, memory_context(**given):
        manager = _manager(destination, what, opened)
        done = store.store / "extracted" / f"{run_name(manager, lm)}.txt"
        if how.again:
            done.unlink(missing_ok=True)
        options: dict[str, Any] = {"num_threads": how.concurrency, "in_order": how.in_order, "done": done}
        bulk = BulkExtraction(manager, lm=lm, budget=budget.budget(), **options)
        tally = _followed(bulk, read, console, store.store)
    if models.simulated:
        _explain_nothing(tally, console)
    if not tally.finished:
        sys.exit(1)


def _manager(destination: Destination, what: What, store: FaissStore) -> MemoryStoreManager:
    from langmem_dspy.memories.enrichment import MemoryStoreManager
    from langmem_dspy.memories.extraction import DEFAULT_INSTRUCTIONS, MemoryManager

    manager = MemoryManager(
        [one for name in what.schema for one in _schemas(name)] or None,
        instructions=what.instructions or DEFAULT_INSTRUCTIONS,
        kind=what.kind,
        enable_deletes=what.deletes,
    )
    return MemoryStoreManager(manager, store, namespace=template(destination.namespace))


def _schemas(name: str) -> list[Any]:
    """The schemas that --schema names: an object of a module, or those in a JSON file."""
    from langmem_dspy.cli.loading import load_object

    if not Path(name).is_file():
        return [load_object(name)]
    try:
        found = json.loads(Path(name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"--schema {name} is not JSON: {error}") from None
    return found if isinstance(found, list) else [found]


def _followed(bulk: Any, read: Any, console: Any, store: Path) -> Tally:
    """Run it under a progress bar, and report."""
    from langmem_dspy.cli.memories_progress import Tally, progress

    tally = Tally(len(read), bulk.meter)
    for name, reason in read.unreadable.items():
        tally.unreadable(name, reason)
    try:
        with progress(console, tally) as advance:
            for extracted in bulk.run(read.conversations):
                tally.add(extracted)
                advance()
    finally:
        for line in tally.report(bulk.stopped, store):
            console.print(line, highlight=False, soft_wrap=True)
    return tally


def _explain_nothing(tally: Tally, console: Any) -> None:
    if tally.found_nothing:
        console.print(
            "The offline simulation remembers what short, plain sentences say, such as: I really like shoo-fly pie. "
            "--profile strong overlooks less; --model asks a real one.",
            highlight=False,
            soft_wrap=True,
        )
