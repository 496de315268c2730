"""The one thread that brings runs to MLflow, so that nothing else ever waits for it."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from langmem_dspy.tracking.delivery import Delivery
from langmem_dspy.tracking.spool import Spool
from langmem_dspy.tracking.stores import TrackingStore, hushed

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

BATCH_SECONDS = 2.0
RETRY_SECONDS = (1.0, 60.0)  # the first wait after a failure, and the longest
STUCK_SECONDS = 30.0  # a store that is silent for so long is warned about


class Courier(threading.Thread):
    """Delivers spools to one store, in batches, and comes back to what failed. Costs one warning per outage."""

    def __init__(self, store: TrackingStore, experiment: str, *, registry: bool = True) -> None:
        super().__init__(name="langmem-dspy-tracking", daemon=True)
        self.store, self.experiment, self.registry = store, experiment, registry
        self._changed = threading.Condition()
        self._waiting: dict[Path, Spool] = {}
        self._deliveries: dict[Path, Delivery] = {}
        self._hurry = self._closing = self._warned = False
        self._failed_rounds = self._failures_in_a_row = 0
        self._experiment_id: str | None = None
        self._moved = time.monotonic()
        self._busy_since: float | None = None

    def notice(self, spool: Spool) -> None:
        """Something was written to `spool`."""
        with self._changed:
            self._waiting[spool.folder] = spool
            self._changed.notify_all()
            silent = time.monotonic() - max(self._busy_since, self._moved) if self._busy_since else 0.0
        if silent > STUCK_SECONDS:
            self._warn(f"the MLflow store has been silent for {silent:.0f} s")

    def flush(self, timeout: float) -> bool:
        """Deliver what is waiting; False if that failed, or is not done after `timeout` seconds."""
        with self._changed:
            failed = self._failed_rounds
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting or self._failed_rounds > failed, timeout)
            return not self._waiting

    def close(self, patience: float) -> bool:
        """Stop after a last attempt, which is given up once nothing has moved for `patience` seconds.

        Returns whether everything has arrived. What has not may be delivered by others from now on.
        """
        with self._changed:
            self._closing = True
            self._moved = time.monotonic()
            self._changed.notify_all()
        while self.is_alive() and time.monotonic() - self._moved < patience:
            self.join(0.05)
        for delivery in list(self._deliveries.values()):
            delivery.release()
        if self._waiting:
            self._warn("the process ends, or tracking was turned off, before everything had arrived")
        return not self._waiting

    # --- in the thread ---

    def run(self) -> None:
        with hushed(self):
            while self._wait_for_work():
                delivered = self._round()
                if self._closing and not delivered:
                    return
            self._mark_interrupted()

    def _wait_for_work(self) -> bool:
        """Until the next batch is due; False when it is time to leave."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            first, longest = RETRY_SECONDS
            row = self._failures_in_a_row
            pause = min(first * 2 ** min(row - 1, 10), longest) if row else BATCH_SECONDS
            self._changed.wait_for(lambda: self._hurry or self._closing, pause)
            self._hurry = False
            return bool(self._waiting)

    def _round(self) -> bool:
        """One attempt at everything that waits; whether all of it went well."""
        with self._changed:
            due, self._busy_since = list(self._waiting.values()), time.monotonic()
        failure: Exception | None = None
        try:
            self.store.check()
            self._progress()
            client = self.store.client()
            self._progress()  # the first time, that has imported MLflow
            if self._experiment_id is None:
                self._experiment_id = self.store.experiment_id(client, self.experiment)
            experiment_id = self._experiment_id
        except Exception as error:  # noqa: BLE001 - whatever ails the store, the run must not suffer
            failure, due = error, []
        for spool in due:
            try:
                self._deliver(spool, client, experiment_id)
            except Exception as error:  # noqa: BLE001 - as above; the spool keeps what did not arrive
                failure = error
        self._conclude(failure)
        return failure is None

    def _deliver(self, spool: Spool, client: MlflowClient, experiment_id: str) -> None:
        delivery = self._deliveries.get(spool.folder)
        if delivery is None:
            delivery = Delivery(spool, self.store.uri, registry=self.registry, progress=self._progress)
            self._deliveries[spool.folder] = delivery
        delivery.deliver(client, experiment_id)
        with self._changed:
            if not delivery.behind:
                self._waiting.pop(spool.folder, None)
        if delivery.complete:
            del self._deliveries[spool.folder]

    def _progress(self) -> None:
        self._moved = time.monotonic()

    def _conclude(self, failure: Exception | None) -> None:
        if failure:
            self._warn(str(failure))
        elif self._warned:
            self._warned = False
            logger.info("tracking has caught up with %s", self.store.uri)
        with self._changed:
            self._busy_since = None
            self._failures_in_a_row = self._failures_in_a_row + 1 if failure else 0
            self._failed_rounds += bool(failure)
            if failure:
                self._experiment_id = None  # it may be gone
            self._changed.notify_all()

    def _mark_interrupted(self) -> None:
        """Runs that were still going when tracking ends must not look so for ever."""
        unfinished = [delivery for delivery in self._deliveries.values() if not delivery.finished]
        if not unfinished:
            return
        try:
            self.store.check()
            client = self.store.client()
            for delivery in unfinished:
                delivery.mark_interrupted(client)
        except Exception as error:  # noqa: BLE001 - only the status in MLflow is at stake
            logger.warning("could not mark unfinished runs as interrupted: %s", error)

    def _warn(self, reason: str) -> None:
        with self._changed:
            said, self._warned = self._warned, True
            root = next((str(folder.parent) for folder in self._waiting), None)
        if said:
            return
        logger.warning(
            "tracking: %s. Optimization is not affected: what has not arrived is kept%s, and is delivered once the "
            "store answers, or later by langmem_dspy.tracking.replay(%r)",
            reason.rstrip("."),
            f" in {root}" if root else "",
            root or "path",
        )
