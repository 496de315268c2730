"""Traces of rollouts, at home with their run: each carries our run id, and is linked to MLflow's run once that ends."""

from __future__ import annotations

import logging
import os
import sys
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from langmem_dspy.tracking.measures import RUN_ID_TAG
from langmem_dspy.tracking.stores import TrackingStore, pages

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

_A_CALL = 100  # MLflow's limit
# The run whose compile is under way here. Rollouts run in copies of its context, so they know it in every thread.
current_run: ContextVar[str | None] = ContextVar("langmem_dspy_run", default=None)


class Tracing:
    """MLflow's tracing of DSPy, compiles included, into one experiment; what was set before is set again by `stop`."""

    def __init__(self, store: TrackingStore, experiment: str) -> None:
        import mlflow
        from mlflow.entities.trace_location import MlflowExperimentLocation
        from mlflow.utils.autologging_utils import autologging_is_disabled

        store.check()
        experiment_id = store.experiment_id(store.client(), experiment)
        if store.file is not None:
            # SQLite takes one writer at a time: MLflow's ten wait for each other for minutes under load.
            os.environ.setdefault("MLFLOW_ASYNC_TRACE_LOGGING_MAX_WORKERS", "1")
        self._uri_before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        self._was_off = autologging_is_disabled("dspy")
        mlflow.set_tracking_uri(store.uri)
        mlflow.tracing.set_destination(MlflowExperimentLocation(experiment_id))
        mlflow.dspy.autolog(log_traces=True, log_traces_from_compile=True, log_traces_from_eval=True, silent=True)

    def stop(self) -> None:
        """Call it once all traces have been delivered: the store they belong to is forgotten."""
        import mlflow

        if self._was_off:
            mlflow.dspy.autolog(disable=True, silent=True)
        mlflow.tracing.reset()
        mlflow.set_tracking_uri(self._uri_before)


def tell_trace() -> None:
    """Write the run that is under way here on the trace that is open here, if there are both."""
    run_id = current_run.get()
    if run_id is None:
        return
    import mlflow

    if mlflow.get_current_active_span() is not None:
        mlflow.update_current_trace(tags={RUN_ID_TAG: run_id})


def link_traces(client: MlflowClient, experiment_id: str, run_id: str, mlflow_run: str) -> int:
    """Link the traces of the run `run_id` to MLflow's run, whose page then shows them. Returns how many.

    Traces may be logged by `enable(traces=True)` or by the user's own `mlflow.dspy.autolog`. A store that cannot link
    them is no reason to fail: they are found by their tag.
    """
    from mlflow.exceptions import MlflowException

    if "mlflow.dspy.callback" in sys.modules:  # else this process traces nothing
        import mlflow

        mlflow.flush_trace_async_logging()
    search = partial(
        client.search_traces,
        locations=[experiment_id],
        filter_string=f"tags.`{RUN_ID_TAG}` = '{run_id}'",
        include_spans=False,
        max_results=_A_CALL,
    )
    linked = 0
    try:
        for found in pages(lambda token: search(page_token=token)):
            if found:
                client.link_traces_to_run([trace.info.trace_id for trace in found], mlflow_run)
            linked += len(found)
    except MlflowException as error:
        logger.info("tracking: traces of run %s are not linked to it: %s", run_id, error)
    return linked
