"""Runs: accepted once they are on disk, worked off in turn, and answered, also after the process was killed."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from langmem_dspy.errors import InputError, StoreError
from langmem_dspy.records import Store
from langmem_dspy.services.auth import ScopedStore, Tenant
from langmem_dspy.services.calls import Calls
from langmem_dspy.services.ledger import Ledger, Statement
from langmem_dspy.services.limits import Limits
from langmem_dspy.services.models import SIMULATED, Models
from langmem_dspy.services.registry import Graphs
from langmem_dspy.services.run import OPEN, Run
from langmem_dspy.services.threads import Threads
from langmem_dspy.services.wire import Refused, dumps

logger = logging.getLogger(__name__)

CANCELLED, TIMED_OUT, STOPPING = "cancelled", "timeout", "stopping"
_ATTEMPTS = 3
_BEGIN = "UPDATE runs SET attempts = attempts + 1 WHERE id = ?"
_END = "UPDATE runs SET status = ?, updated = ?, result = ?, expires = ? WHERE id = ?"


class Runs:
    """The runs of a server. `live` are those accepted and not ended, or not yet written as ended."""

    def __init__(
        self, ledger: Ledger, threads: Threads, graphs: Graphs, models: Models, store: Store, limits: Limits
    ) -> None:
        self.ledger, self.threads, self.graphs, self.models = ledger, threads, graphs, models
        self.store, self.limits = store, limits
        self.live: dict[str, Run] = {}
        self.ended: Counter[tuple[str, str]] = Counter()
        self._of_tenant: Counter[str] = Counter()
        self._of_thread: dict[tuple[str, str], list[Run]] = {}
        self._slots = asyncio.Semaphore(limits.runs_at_once)
        self._stopping = False

    def accept(self, tenant: Tenant, thread: str | None, graph: str, request: Mapping[str, Any]) -> Run:
        """Begin a run. It is accepted once `synced`. Raises `Refused` where there is enough to do already."""
        self._check_room(tenant)
        keep = thread is not None or request.get("on_completion") == "keep"
        given, thread = thread, thread or str(uuid.uuid4())
        earlier = self._of_thread.get((tenant.path, thread), [])
        before: list[Statement] = []
        if keep:
            create = request.get("if_not_exists") == "create" or not given
            before = self.threads.before_run(tenant, thread, self.graphs[graph], create=create)
            self._give_way(earlier, request.get("multitask_strategy"))
        now = time.time()
        run = Run(
            str(uuid.uuid4()), tenant.root, thread, graph, request, self._metadata(graph, request),
            request.get("multitask_strategy") or "enqueue", not keep, now, now + (request.get("after_seconds") or 0),
            after=earlier[-1] if earlier else None,
        )  # fmt: skip
        # Mostly it begins at once, which then needs no further commit.
        run.attempts = int(run.after is None and run.due == now and not self._slots.locked())
        run.synced = self.ledger.write(*before, run.inserted())
        self._go(run)
        return run

    def recover(self) -> None:
        """Take up the runs that were under way when the last process of this server ended."""
        for row in self.ledger.rows("SELECT * FROM runs WHERE status IN ('pending', 'running') ORDER BY created"):
            run = Run.read(row)
            earlier = self._of_thread.get((run.tenant, run.thread))
            run.after = earlier[-1] if earlier else None
            self._go(run)

    def find(self, tenant: Tenant, thread: str | None, identifier: str) -> Run:
        """A run of this tenant. Raises `Refused`, also for one of another's."""
        run = self.live.get(identifier)
        if run is None:
            row = self.ledger.row("SELECT * FROM runs WHERE id = ? AND tenant = ?", identifier, tenant.path)
            run = None if row is None else Run.read(row)
        if run is None or run.tenant != tenant.path or (thread is not None and run.thread != thread):
            raise Refused(404, f"there is no run {identifier} here")
        return run

    def of_thread(self, tenant: Tenant, thread: str, status: str | None, limit: int, offset: int) -> list[Run]:
        """Runs of a thread, newest first."""
        rows = self.ledger.rows(
            "SELECT * FROM runs WHERE tenant = ? AND thread = ? ORDER BY created DESC, id", tenant.path, thread
        )
        runs = [self.live.get(row["id"]) or Run.read(row) for row in rows]
        return [run for run in runs if status is None or run.status == status][offset : offset + limit]

    def open_of(self, tenant: Tenant) -> list[Run]:
        return [run for run in self.live.values() if run.tenant == tenant.path and run.status in OPEN]

    def cancel(self, run: Run, reason: str = CANCELLED, *, rollback: bool = False) -> None:
        """End a run that is under way; `done` says when it has. With `rollback` it leaves no trace."""
        if run.status not in OPEN:
            return
        run.rolled_back = run.rolled_back or rollback
        if run.calls is not None:
            run.calls.cancel(reason)
        elif run.task is not None and not run.told_to_end:  # once: a second time would break off its ending
            run.told_to_end = True
            run.task.cancel(reason)

    async def delete(self, run: Run) -> None:
        self.cancel(run)
        await run.done.wait()
        await self.ledger.write(("DELETE FROM runs WHERE id = ?", (run.id,)))

    @property
    def under_way(self) -> int:
        """How many are waiting or at work."""
        return self._of_tenant.total()

    @property
    def unwritten(self) -> int:
        """How many have ended, and are kept in memory until that is on disk."""
        return len(self.live) - self.under_way

    async def drain(self) -> None:
        """Accept nothing more; let what is under way end, and leave to the next process what takes too long."""
        self._stopping = True
        for run in list(self.live.values()):
            if run.due > time.time() + self.limits.drain_seconds:
                self.cancel(run, STOPPING)
        tasks = [run.task for run in self.live.values() if run.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self.limits.drain_seconds)
        for run in list(self.live.values()):
            self.cancel(run, STOPPING)
        if late:
            await asyncio.wait(late, timeout=5)

    def _check_room(self, tenant: Tenant) -> None:
        if self._stopping:
            raise Refused(503, "the server is stopping; try again soon", {"Retry-After": "5"})
        if self.under_way >= self.limits.queue or self._of_tenant[tenant.path] >= self.limits.queue_of_tenant:
            raise Refused(429, "too many runs are waiting or at work; try again later", {"Retry-After": "2"})

    def _give_way(self, earlier: list[Run], strategy: str | None) -> None:
        if earlier and strategy == "reject":
            raise Refused(409, "the thread is busy with a run; wait for it, or choose another multitask_strategy")
        if strategy in ("interrupt", "rollback"):
            for run in earlier:
                self.cancel(run, rollback=strategy == "rollback")

    def _metadata(self, graph: str, request: Mapping[str, Any]) -> dict[str, Any]:
        model = self.models.find(configurable(request).get("model")).model
        said = {"simulation": SIMULATED} if self.models.simulated and model == self.models.name else {}
        told = {"graph_id": graph, "assistant_id": self.graphs[graph].assistant_id, "model": model, **said}
        return {"created_by": "system", **(request.get("metadata") or {}), **told}

    def _go(self, run: Run) -> None:
        self.live[run.id] = run
        self._of_tenant[run.tenant] += 1
        self._of_thread.setdefault((run.tenant, run.thread), []).append(run)
        run.task = asyncio.create_task(self._drive(run))

    async def _drive(self, run: Run) -> None:
        status, answer = "interrupted", _CANCELLED
        try:
            if (wait := run.due - time.time()) > 0:
                await asyncio.sleep(wait)
            while run.after is not None:
                await run.after.done.wait()
                run.after = run.after.after  # of one that was cancelled, what that had still to wait for
            async with self._slots:
                status, answer = await self._work(run)
        except asyncio.CancelledError as error:
            if STOPPING in error.args or self._stopping:
                return  # it stays in the ledger as it is
        if status != STOPPING:
            await self._end(run, status, answer)

    async def _work(self, run: Run) -> tuple[str, Any]:
        """How it ended, and its answer."""
        run.calls = calls = Calls()
        run.status = "running"
        run.started.set()
        if run.synced is None or not run.attempts:
            run.attempts += 1
            if run.attempts > _ATTEMPTS:
                return "error", told("Lost", f"the server ended {_ATTEMPTS} times while this run was under way")
            self.ledger.write((_BEGIN, (run.id,)))
        timer = asyncio.get_running_loop().call_later(self.limits.run_seconds, calls.cancel, TIMED_OUT)
        try:
            with calls.around():
                output = await self.graphs[run.graph].run(
                    run.request.get("input"), self._config(run), ScopedStore(self.store, run.root)
                )
            return "success", output
        except InputError as error:
            return "error", told(type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has to end and to be told of
            return self._failed(run, error, calls.reason)
        finally:
            timer.cancel()

    def _failed(self, run: Run, error: Exception, reason: str | None) -> tuple[str, Any]:
        if reason == STOPPING:
            return STOPPING, None
        if reason == CANCELLED:
            return "interrupted", _CANCELLED
        if reason == TIMED_OUT:
            return "timeout", told("TimeoutError", f"the run took longer than {self.limits.run_seconds:g} seconds")
        incident = uuid.uuid4().hex[:12]
        logger.error("run failed", extra={"run": run.id, "incident": incident}, exc_info=error)
        return "error", told(type(error).__name__, f"the run failed; the server's log has the cause under {incident}")

    def _config(self, run: Run) -> dict[str, Any]:
        given = configurable(run.request)
        thread = {} if run.stateless else {"thread_id": run.thread}
        return {"configurable": {**given, **thread, "model": self.models.find(given.get("model"))}}

    async def _end(self, run: Run, status: str, answer: Any) -> None:
        if run.synced is not None and not run.stateless:
            await asyncio.wait([run.synced])  # its thread, too, has to be there before it gets a state
        run.result = b"null" if answer is None else dumps(answer)
        run.updated = time.time()
        expires = run.updated + self.limits.keep_seconds if run.stateless else None
        statements: list[Statement] = [(_END, (status, run.updated, run.result, expires, run.id))]
        siblings = self._of_thread[run.tenant, run.thread]
        siblings.remove(run)
        if not siblings:
            del self._of_thread[run.tenant, run.thread]
        if run.rolled_back:
            statements = [("DELETE FROM runs WHERE id = ?", (run.id,))]
        if not run.stateless:
            statements += self.threads.after_run(run, status, answer, busy=bool(siblings))
        written = self.ledger.write(*statements, soon=run.stateless)
        if not run.stateless:
            try:
                await written  # who waited for the run may read the thread next
            except StoreError as error:
                # Who waits must hear of it: what is not kept has not succeeded. A restart finds it under way.
                status, told_instead = self._failed(run, error, None)
                run.result = dumps(told_instead)
        self._of_tenant -= Counter({run.tenant: 1})  # drops those at 0
        self.ended[run.graph, status] += 1
        run.status = status
        run.started.set()
        run.done.set()
        written.add_done_callback(lambda _: self.live.pop(run.id, None))


def told(error: str, message: str) -> dict[str, Any]:
    """A failure as LangGraph's clients read it."""
    return {"__error__": {"error": error, "message": message}}


_CANCELLED = told("UserInterrupt", "the run was cancelled")


def configurable(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a caller configured, by LangGraph's older name for it and its newer one, `context`."""
    config = request.get("config") or {}
    return {**(config.get("configurable") or {}), **(request.get("context") or {})}
