"""`langmem-dspy ui`: MLflow on the store where the runs are."""

from __future__ import annotations


def ui(*, tracking_uri: str | None = None, port: int = 5000, host: str = "127.0.0.1") -> None:
    """Open MLflow on the runs: compare them, look at diffs and prompt versions. Ends with Ctrl-C.

    Parameters
    ----------
    tracking_uri
        Which MLflow store. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
    port
        Port on this machine.
    host
        Address to listen on.
    """
    from rich.console import Console

    from langmem_dspy import tracking
    from langmem_dspy.errors import InputError

    if not 0 < port < 65536:
        raise InputError(f"--port is {port}; give one from 1 to 65535")
    with tracking.ui(tracking_uri, port, host=host) as server:
        Console().print(f"MLflow is at {server.runs_url}; Ctrl-C ends it.", highlight=False)
        server.wait()
