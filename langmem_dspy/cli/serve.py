"""`langmem-dspy serve`, and the keys of those who may call it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from langmem_dspy.cli.options import OneModelOptions
from langmem_dspy.services.limits import Limits

keys = App(name="keys", help="Keys of a server: who holds one sees one namespace, and nothing beside it.")

KeysPath = Annotated[Path, Parameter(name="--keys", env_var="LANGMEM_DSPY_KEYS")]


@Parameter(name="*")
@dataclass(frozen=True)
class ServedModel(OneModelOptions):
    """Which model answers where a caller names none; the environment may say it too."""

    model: Annotated[str | None, Parameter(env_var="LANGMEM_DSPY_MODEL")] = None
    api_base: Annotated[str | None, Parameter(env_var="LANGMEM_DSPY_API_BASE")] = None


@Parameter(name="*")
@dataclass(frozen=True)
class LimitOptions:
    """How much the server takes on.

    Parameters
    ----------
    rate
        Requests a second and caller, with bursts of twice as many; 0 is no bound.
    runs_at_once
        Runs at work at the same time; more wait.
    queue
        Runs waiting or at work; beyond it callers are told to come back later (429).
    run_seconds
        Seconds a run may take.
    drain_seconds
        Seconds that runs have to end in when the server is told to stop. The next start takes up those that did not.
    """

    rate: Annotated[float, Parameter(env_var="LANGMEM_DSPY_RATE")] = Limits.rate
    runs_at_once: Annotated[int, Parameter(env_var="LANGMEM_DSPY_RUNS_AT_ONCE")] = Limits.runs_at_once
    queue: Annotated[int, Parameter(env_var="LANGMEM_DSPY_QUEUE")] = Limits.queue
    run_seconds: Annotated[float, Parameter(env_var="LANGMEM_DSPY_RUN_SECONDS")] = Limits.run_seconds
    drain_seconds: Annotated[float, Parameter(env_var="LANGMEM_DSPY_DRAIN_SECONDS")] = Limits.drain_seconds

    def limits(self) -> Limits:
        return Limits(
            rate=self.rate,
            runs_at_once=self.runs_at_once,
            queue=self.queue,
            queue_of_tenant=max(1, self.queue // 2),
            run_seconds=self.run_seconds,
            drain_seconds=self.drain_seconds,
        )


def serve(
    *,
    host: Annotated[str, Parameter(env_var="LANGMEM_DSPY_HOST")] = "127.0.0.1",
    port: Annotated[int, Parameter(env_var="LANGMEM_DSPY_PORT")] = 2024,
    store: Annotated[Path, Parameter(env_var="LANGMEM_DSPY_STORE")] = Path("memories"),
    keys: Annotated[Path | None, Parameter(env_var="LANGMEM_DSPY_KEYS")] = None,
    models: ServedModel = ServedModel(),
    allow_model: Annotated[tuple[str, ...], Parameter(env_var="LANGMEM_DSPY_ALLOW_MODELS", negative=())] = (),
    limits: LimitOptions = LimitOptions(),
    mlflow: Annotated[str | None, Parameter(env_var="MLFLOW_TRACKING_URI")] = None,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Parameter(env_var="LANGMEM_DSPY_LOG")] = "info",
    bench: bool = False,
) -> None:
    """Serve memories and prompt optimization to LangGraph's clients and to any MCP agent.

    `langgraph_sdk.get_client(url="http://127.0.0.1:2024")` speaks to it. Needs the extra `server`.

    Parameters
    ----------
    host
        Address to listen on. Without keys only this machine's own.
    port
        Port to listen on.
    store
        Folder of the memories, runs and threads; made if it is missing.
    keys
        File of keys, made by `langmem-dspy keys create`.
    allow_model
        Further models that callers may name, `*` for any part: openai/*. Callers never choose where a model is asked.
    mlflow
        Where MLflow is, as http or https: the status page links to it.
    log_level
        How much is logged, as lines of JSON on stderr that never hold what was said.
    bench
        Offer the graph `echo` too, which asks no model, to measure the server alone.
    """
    from rich.console import Console

    from langmem_dspy.integrations.extras import optional
    from langmem_dspy.store.faiss_store import FaissStore

    for module in ("fastapi", "uvicorn", "prometheus_client"):
        optional(module, "server")
    from langmem_dspy.services.app import Service
    from langmem_dspy.services.keys import KeyFile
    from langmem_dspy.services.models import Models
    from langmem_dspy.services.serving import alone, check_host
    from langmem_dspy.services.serving import serve as serve_until_stopped

    check_host(host, with_keys=keys is not None)
    console, lm = Console(soft_wrap=True), models.load()
    models.announce(console, lm)
    with alone(store), FaissStore(store) as memories:
        known = None if keys is None else KeyFile(keys)
        limited, ledger = limits.limits(), store / "runs.sqlite"
        service = Service(memories, Models(lm, allow_model), ledger, known, limited, bench, mlflow)
        who = "holders of a key" if keys is not None else "this machine alone"
        console.print(f"Serving {store} to {who} at http://{host}:{port} (see /status and /docs); Ctrl-C ends it.")
        serve_until_stopped(service, host, port, log_level=log_level)


@keys.command
def create(name: str, *, keys: KeysPath = Path("keys.json"), root: str | None = None) -> None:
    """Make a key and print it. It is shown this once; the file keeps a hash of it.

    Parameters
    ----------
    name
        Who holds it.
    keys
        File of keys.
    root
        Namespace that its holder sees, labels joined by "/". Default: the name.
    """
    from langmem_dspy.services.keys import KeyFile

    print(KeyFile(keys).create(name, None if root is None else root.split("/")))


@keys.command(name="list")
def list_keys(*, keys: KeysPath = Path("keys.json")) -> None:
    """List the keys of a file: ids, names, roots.

    Parameters
    ----------
    keys
        File of keys.
    """
    from rich.console import Console
    from rich.table import Table

    from langmem_dspy.services.keys import KeyFile

    table = Table("id", "name", "root", "created", "revoked")
    for key in KeyFile(keys).all():
        table.add_row(key.id, key.name, "/".join(key.root), key.created_at, key.revoked_at or "")
    Console().print(table)


@keys.command
def revoke(key: str, *, keys: KeysPath = Path("keys.json")) -> None:
    """Let a key in no more; a running server follows within a second.

    Parameters
    ----------
    key
        Its id, or the name of its holder.
    keys
        File of keys.
    """
    from langmem_dspy.services.keys import KeyFile

    revoked = KeyFile(keys).revoke(key)
    print(f"revoked {revoked.id} ({revoked.name})")
