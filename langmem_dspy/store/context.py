"""Items from one conversation lend each other their evidence: an answer shares few words with its question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from langmem_dspy.store.growing import Column
from langmem_dspy.store.rows import load_provenance

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REACH = 2  # messages
_SHARES = np.array([0.5, 0.5, 0.25])  # of a neighbour's evidence, by distance in messages
_NOWHERE = -1


class Context:
    """Where the slots of a shard stand in their threads, which are each of one namespace."""

    def __init__(self, names: Sequence[str] = (), threads: Column | None = None, positions: Column | None = None):
        self._codes: dict[str, int] = {name: code for code, name in enumerate(names)}
        self.threads = threads or Column([], np.int32)  # by slot, as codes
        self.positions = positions or Column([], np.int64)
        self._links: tuple[int, list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]]] | None = None

    def append(self, path: str, provenance: str | None) -> None:
        found = load_provenance(provenance)
        if found is None or found.thread is None or not found.messages:
            self.threads.append(_NOWHERE)
            self.positions.append(0)
            return
        self.threads.append(self._codes.setdefault(path + found.thread, len(self._codes)))
        self.positions.append(min(found.messages))

    def forget_links(self) -> None:
        """Call when an item has gone: others are neighbours now."""
        self._links = None

    def lend(self, evidence: NDArray[np.float32], alive: NDArray[np.bool_]) -> NDArray[np.float32]:
        """What each slot is lent by its neighbours of up to two messages away."""
        lent = np.zeros_like(evidence)
        if not self._codes:
            return lent
        for ours, theirs, shares in self._linked(alive):
            # Within one link a slot stands once on either side, so plain indexing adds up correctly.
            lent[ours] += shares * evidence[theirs]
            lent[theirs] += shares * evidence[ours]
        return lent

    @property
    def empty(self) -> bool:
        """Whether no slot is of any thread."""
        return not self._codes

    @property
    def names(self) -> list[str]:
        """The threads, in the order of their codes."""
        return list(self._codes)

    def fork(self) -> Context:
        return Context(self.names, self.threads.fork(), self.positions.fork())

    def _linked(self, alive: NDArray[np.bool_]) -> list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]]:
        if self._links is not None and self._links[0] == self.threads.size:
            return self._links[1]
        threads, positions = self.threads.array, self.positions.array
        slots = np.flatnonzero(alive & (threads != _NOWHERE))
        slots = slots[np.lexsort((slots, positions[slots], threads[slots]))]
        links = []
        for step in range(1, _REACH + 1):
            ours, theirs = slots[:-step], slots[step:]
            distance = positions[theirs] - positions[ours]
            near = (threads[ours] == threads[theirs]) & (distance <= _REACH)
            links.append((ours[near], theirs[near], _SHARES[distance[near]].astype(np.float32)))
        self._links = (self.threads.size, links)
        return links
