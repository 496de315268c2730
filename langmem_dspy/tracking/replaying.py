"""Delivering later what a store did not take: after an outage, a kill, or to another store altogether."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langmem_dspy.errors import InputError
from langmem_dspy.tracking.delivery import Delivery
from langmem_dspy.tracking.spool import DEFAULT_ROOT, Spool, spools_under
from langmem_dspy.tracking.stores import hushed, resolve_experiment, resolve_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replayed:
    """What a replay did, by run id: delivered now, found delivered already, or failed (with the reason)."""

    delivered: tuple[str, ...]
    already_there: tuple[str, ...]
    failed: dict[str, str]


def replay(
    path: str | os.PathLike[str] = DEFAULT_ROOT,
    tracking_uri: str | os.PathLike[str] | None = None,
    *,
    experiment: str | None = None,
    registry: bool = True,
) -> Replayed:
    """Deliver the runs at `path` (one run's folder, its events.jsonl, or a folder of runs), each exactly once.

    `tracking_uri` as for `enable`. `experiment`: the one each run was made for if None. Raises `TrackingError` if a
    server does not answer; a run that fails by itself is reported and does not keep others back.
    """
    spools = spools_under(Path(path))
    if not spools:
        raise InputError(f"no run at {path}: give a run's folder, its events.jsonl, or a folder of such folders")
    store = resolve_store(tracking_uri)
    delivered, already, failed = [], [], {}
    with hushed(threading.current_thread()):
        store.check()
        client = store.client()
        for spool in spools:
            about = spool.about()
            run_id = str(about.get("run_id") or spool.folder.name)
            if _arrived(spool, store.uri, client):
                already.append(run_id)
                continue
            try:
                name = resolve_experiment(experiment or about.get("experiment"))
                _deliver(spool, store.uri, client, store.experiment_id(client, name), registry)
                delivered.append(run_id)
            except Exception as error:  # noqa: BLE001 - the others must not be kept back; the caller gets the reason
                logger.warning("run %s was not delivered: %s", run_id, error)
                failed[run_id] = str(error)
    return Replayed(tuple(delivered), tuple(already), failed)


def _deliver(spool: Spool, uri: str, client: MlflowClient, experiment_id: str, registry: bool) -> None:
    delivery = Delivery(spool, uri, registry=registry)
    try:
        delivery.deliver(client, experiment_id)
        delivery.mark_interrupted(client)
    finally:
        delivery.release()


def _arrived(spool: Spool, uri: str, client: MlflowClient) -> bool:
    """Whether all that the spool holds has gone there, and the run is still there; one deleted in MLflow stays so."""
    from mlflow.exceptions import MlflowException

    known = spool.delivered(uri)
    whole = known.get("bytes") == spool.size() and known.get("program") == spool.program.exists()
    if not (whole and known.get("finished")):
        return False
    try:
        client.get_run(known["mlflow_run"])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False  # the store was made anew
    return True
