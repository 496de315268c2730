"""Items from one conversation lend each other their evidence: an answer shares few words with its question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from langmem_dspy.store.rows import load_provenance

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REACH = 2  # messages
_SHARES = np.array([0.5, 0.5, 0.25])  # of a neighbour's evidence, by distance in messages
_NOWHERE = -1


class Context:
    """Where the slots of a shard stand in their threads."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self.threads: list[int] = []
        self.positions: list[int] = []
        self._links: tuple[int, list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]]] | None = None

    def append(self, provenance: str | None) -> None:
        found = load_provenance(provenance)
        if found is None or found.thread is None or not found.messages:
            self.threads.append(_NOWHERE)
            self.positions.append(0)
            return
        self.threads.append(self._codes.setdefault(found.thread, len(self._codes)))
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

    def fork(self) -> Context:
        forked = Context()
        forked._codes = dict(self._codes)
        forked.threads, forked.positions = list(self.threads), list(self.positions)
        return forked

    def _linked(self, alive: NDArray[np.bool_]) -> list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]]:
        if self._links is not None and self._links[0] == len(self.threads):
            return self._links[1]
        threads, positions = np.array(self.threads), np.array(self.positions)
        slots = np.flatnonzero(alive & (threads != _NOWHERE))
        slots = slots[np.lexsort((slots, positions[slots], threads[slots]))]
        links = []
        for step in range(1, _REACH + 1):
            ours, theirs = slots[:-step], slots[step:]
            distance = positions[theirs] - positions[ours]
            near = (threads[ours] == threads[theirs]) & (distance <= _REACH)
            links.append((ours[near], theirs[near], _SHARES[distance[near]].astype(np.float32)))
        self._links = (len(self.threads), links)
        return links
