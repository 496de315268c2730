"""Option groups of the memories commands: which store, which namespace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from langmem_dspy.cli.options import BudgetOptions
from langmem_dspy.errors import InputError

if TYPE_CHECKING:
    from langmem_dspy.store.faiss_store import FaissStore


@Parameter(name="*")
@dataclass(frozen=True)
class StoreOptions:
    """Where the memories are.

    Parameters
    ----------
    store
        Folder of the store.
    """

    store: Path = Path("memories")

    @contextmanager
    def opened(self, *, create: bool = False, embedder: str | None = None) -> Iterator[FaissStore]:
        """The store; made if it is missing only where `create` says so."""
        from langmem_dspy.store.faiss_store import FaissStore

        if self.store.is_file():
            raise InputError(f"--store {self.store} is a file; a store is a folder")
        if not create and not FaissStore.exists(self.store):
            raise InputError(
                f"there is no store in {self.store}; name another folder by --store, or make it with "
                "`langmem-dspy memories extract`"
            )
        with reaching(self.store):
            store = FaissStore(self.store, embedder=embedder)
        with store:
            yield store


@Parameter(name="*")
@dataclass(frozen=True)
class NamespaceOptions:
    """Whose memories.

    Parameters
    ----------
    namespace
        Labels joined by "/", such as memories/ann; the namespaces below it count too. Default: all of them.
    var
        Fills a {variable} of the namespace: --namespace memories/{user_id} --var user_id=ann.
    """

    namespace: Annotated[str, Parameter(show_default=False)] = ""
    var: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()

    def resolved(self) -> tuple[str, ...]:
        from langmem_dspy.namespaces import resolve_namespace, template_variables

        if not self.namespace:
            return ()
        labels, given = template(self.namespace), variables(self.var)
        if missing := sorted(template_variables(labels) - set(given)):
            raise InputError(
                f"nothing fills {{{missing[0]}}} of --namespace {self.namespace}; give --var {missing[0]}=x"
            )
        return resolve_namespace(labels, given)


@Parameter(name="*")
@dataclass(frozen=True)
class ExtractionBudget(BudgetOptions):
    """What the run may spend at most. Started again with a larger budget, it goes on where it was.

    Parameters
    ----------
    lm_calls
        LM calls, retries included. Default: no limit.
    tokens
        Prompt and completion tokens.
    cost
        US dollars, where the price of the model is known.
    seconds
        Wall time.
    """

    lm_calls: int | None = None


STORE, ANYWHERE = StoreOptions(), NamespaceOptions()


@contextmanager
def reaching(path: Path) -> Iterator[None]:
    """What the system refuses to do with `path` is the fault of who named it."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be used: {error.strerror or error}; name another one") from error


def template(namespace: str) -> tuple[str, ...]:
    """ "memories/{user_id}" as a namespace template."""
    labels = tuple(namespace.strip("/").split("/"))
    if not all(labels):
        raise InputError(f"--namespace {namespace!r} has an empty label; write it as memories/ann")
    return labels


def variables(given: Sequence[str]) -> dict[str, str]:
    """ "user_id=ann" and so on as a dict."""
    pairs = [one.partition("=") for one in given]
    for name, equals, value in pairs:
        if not equals or not name.isidentifier() or not value:
            raise InputError(f"--var {name}{equals}{value} is not of the form name=value, such as user_id=ann")
    return {name: value for name, _, value in pairs}
