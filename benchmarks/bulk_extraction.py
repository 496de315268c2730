"""Bulk extraction beside the ideal: as if nothing but the model took time.

    python benchmarks/bulk_extraction.py [--conversations 1000] [--concurrency 64] [--latency 0.2] [--rounds 3]

The ideal is conversations * latency / concurrency. The model sleeps for the latency and answers in this process, by one
regular expression (`--simulated`: by the offline model, whose own work then counts against us). Rows: `sleep` is a pool
of threads that only waits; `bare DSPy` one `dspy.Predict` of the same signature for each conversation, its reply parsed
and thrown away; then bulk extraction into a durable store, all conversations in one namespace, and those of 200 users
in order. Goal: 1.3 times the ideal. One interpreter does it all, so the wall time is hardly ever below the CPU of a
conversation times their number.
"""

from __future__ import annotations

import argparse
import contextvars
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dspy
from dspy.lm15 import Message as Said
from dspy.lm15 import Request, Response, Usage

from langmem_dspy import simulation
from langmem_dspy.memories.bulk_extraction import BulkExtraction, Conversation
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.extraction import ExtractMemories
from langmem_dspy.messages import Message, render
from langmem_dspy.store import FaissStore

THINGS = ("pie", "tea", "jazz", "chess", "snow", "rain", "figs", "hats", "maps", "pens", "kale", "rye", "oats", "plum")
USERS = 200
GOAL = 1.3


def conversations(count: int, users: int | None) -> list[Conversation]:
    def said(i: int) -> list[Message]:
        text = f"I like {THINGS[i % len(THINGS)]} number {i}. What goes well with it?"
        return [Message("user", text), Message("assistant", "Many things do. What do you have at home?")]

    return [
        Conversation(f"talk {i}", said(i), {} if users is None else {"user_id": f"user{i % users}"})
        for i in range(count)
    ]


class ShortReplies:
    """An engine that remembers what the user likes, at the price of a regular expression."""

    supports_function_calling = supports_reasoning = supports_response_schema = False
    supported_params: frozenset[str] = frozenset()
    likes = re.compile(r"\nuser: I like (.*?)\.")
    reply = (
        '[[ ## operations ## ]]\n[{{"op": "insert", "content": "The user likes {}."}}]\n\n'
        "[[ ## finished ## ]]\nTrue\n\n[[ ## completed ## ]]"
    )

    def __init__(self, latency: float) -> None:
        self.latency = latency

    def __deepcopy__(self, memo: dict[int, object]) -> ShortReplies:
        return self

    def complete(self, request: Request) -> Response:
        time.sleep(self.latency)
        found = self.likes.search(request.messages[-1].parts[0].text)
        if found is None:
            raise SystemExit("the request holds no conversation of this benchmark")
        said = Said.assistant(self.reply.format(found[1]))
        usage = Usage(input_tokens=700, output_tokens=40)
        return Response(id="short", model=request.model, message=said, finish_reason="stop", usage=usage)


def in_threads(work: Callable[[int], object], count: int, concurrency: int) -> None:
    with ThreadPoolExecutor(concurrency) as pool:
        for future in [pool.submit(contextvars.copy_context().run, work, i) for i in range(count)]:
            future.result()


def bare_dspy(lm: dspy.LM, count: int, concurrency: int) -> None:
    extract = dspy.Predict(ExtractMemories)
    talks = conversations(count, None)
    inputs = {"worth_remembering": "facts", "schemas": "Memory: bare text (content).", "known_memories": "none"}
    adapter = dspy.ChatAdapter(use_json_adapter_fallback=False)
    with dspy.context(lm=lm, adapter=adapter, disable_history=True):
        in_threads(
            lambda i: extract(
                conversation=render(talks[i].messages), allowed_operations="insert", rejected=[], **inputs
            ),
            count,
            concurrency,
        )


def bulk(lm: dspy.LM, count: int, concurrency: int, users: int | None) -> None:
    namespace = ("memories",) if users is None else ("memories", "{user_id}")
    with tempfile.TemporaryDirectory() as folder, FaissStore(Path(folder) / "store") as store:
        manager = MemoryStoreManager(store=store, namespace=namespace)
        run = BulkExtraction(manager, lm=lm, num_threads=concurrency, done=Path(folder) / "done")
        ended = [result.state for result in run.run(conversations(count, users))]
        if ended != ["extracted"] * count or run.meter.report().lm_calls != count:
            raise SystemExit(f"not all were extracted: {run.stopped}")
        if store.stats()["items"] < 0.95 * count:
            raise SystemExit(f"memories are missing: {store.stats()}")


def measure(work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds the model takes to answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--simulated", action="store_true", help="let the offline model answer")
    options = parser.parse_args()
    count, concurrency, latency = options.conversations, options.concurrency, options.latency
    lm = dspy.LM("short/replies", engine=ShortReplies(latency), cache=False)
    if options.simulated:
        lm = simulation.offline_lm("strong", latency=latency)
    rows: dict[str, Callable[[], None]] = {
        "sleep": lambda: in_threads(lambda _: time.sleep(latency), count, concurrency),
        "bare DSPy": lambda: bare_dspy(lm, count, concurrency),
        "bulk, one namespace": lambda: bulk(lm, count, concurrency, None),
        f"bulk, {USERS} users": lambda: bulk(lm, count, concurrency, USERS),
    }
    bulk(lm, 2 * concurrency, concurrency, None)  # what is loaded on first use is not the work
    ideal = count * latency / concurrency
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for _ in range(options.rounds):
        for name, work in rows.items():
            found[name].append(measure(work))
    print(f"{count} conversations, {concurrency} at once, {latency:g} s each: ideal {ideal:.2f} s")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; best and middle of {options.rounds} rounds")
    print(f"{'':<22} {'wall s':>7} {'x ideal':>8} {'CPU ms each':>12} {'middle':>8}")
    for name, measured in found.items():
        wall, cpu = min(measured)
        middle = statistics.median(one for one, _ in measured)
        verdict = "" if not name.startswith("bulk") else ": met" if wall <= GOAL * ideal else f": MISSED {GOAL}"
        each = cpu / count * 1000
        print(f"{name:<22} {wall:>7.2f} {wall / ideal:>8.2f} {each:>12.2f} {middle / ideal:>8.2f}{verdict}")


if __name__ == "__main__":
    main()
