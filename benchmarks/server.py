"""What the server costs: runs and searches of real processes over loopback, beside a bare Starlette app in one run.

    python benchmarks/server.py [--seconds 5] [--items 10000] [--namespaces 1] [--latency 0.2]

CPU-ms are those of the server's process for one request; on a shared machine they and the ratio to the bare app say
more than the clock does. What the server adds to an LM's own latency is p50 of the extraction less that of the LM
alone, which answers from the process that asks.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

WORDS = ["tea", "coffee", "dark", "mode", "berlin", "paris", "dog", "cat", "likes", "prefers", "hates", "bike", "train"]
BARE = """
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def echo(request): return JSONResponse(await request.json())
uvicorn.run(Starlette(routes=[Route("/", echo, methods=["POST"])]), port={port}, log_level="error", access_log=False)
"""
CLIENTS = (1, 16)
SERVE = "from langmem_dspy.cli import main; main()"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def process(port: int, code: str, *arguments: str) -> Iterator[int]:
    """A server; its process id."""
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stdout=-3, stderr=-3) as server:
        try:
            while server.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield server.pid
        finally:
            server.terminate()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def ask(connection: http.client.HTTPConnection, path: str, body: object, method: str = "POST") -> bytes:
    connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{path}: {answer.status} {told[:200]!r}")
    return told


def load(name: str, port: int, pid: int, path: str, bodies: list[object], seconds: float) -> None:
    """Ask as fast as the answers come, of one client and of many, and print a row for each."""
    ask(http.client.HTTPConnection("127.0.0.1", port), path, bodies[0])  # what only the first one waits for
    for clients in CLIENTS:
        load_by(clients, name, port, pid, path, bodies, seconds)


def load_by(clients: int, name: str, port: int, pid: int, path: str, bodies: list[object], seconds: float) -> None:
    end, before = time.perf_counter() + seconds, cpu_seconds(pid)

    def work(seed: int) -> list[float]:
        connection, chosen, took = http.client.HTTPConnection("127.0.0.1", port), random.Random(seed), []
        while (began := time.perf_counter()) < end:
            ask(connection, path, chosen.choice(bodies))
            took.append(time.perf_counter() - began)
        return took

    with ThreadPoolExecutor(clients) as pool:
        took = [one for several in pool.map(work, range(clients)) for one in several]
    cpu = (cpu_seconds(pid) - before) / len(took) * 1000
    print(
        f"{name:<28}{clients:>8}{len(took) / seconds:>10.0f}{statistics.median(took) * 1000:>10.2f}"
        f"{cpu:>10.2f}{resident_mb(pid):>8.0f}",
        flush=True,
    )


def sentence(chosen: random.Random) -> str:
    return " ".join(chosen.choices(WORDS, k=12))


def fill(port: int, items: int, namespaces: int) -> None:
    """Put `items` over the wire."""
    chosen, connection = random.Random(0), http.client.HTTPConnection("127.0.0.1", port)
    for i in range(items):
        item = {
            "namespace": ["bench", f"u{i % namespaces}"],
            "key": str(i),
            "value": {"content": f"{sentence(chosen)} {i}"},
        }
        ask(connection, "/store/items", item, "PUT")


@contextmanager
def slow_model(latency: float) -> Iterator[str]:
    """A model that answers after `latency` seconds, at its address."""
    reply = "[[ ## operations ## ]]\n[]\n\n[[ ## finished ## ]]\nTrue\n\n[[ ## completed ## ]]"
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply}}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = json.dumps(
        {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    )
    answer = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
                await asyncio.sleep(latency)
                writer.write(answer)
        except asyncio.IncompleteReadError:
            writer.close()

    loop, port = asyncio.new_event_loop(), free_port()
    loop.run_until_complete(asyncio.start_server(handle, "127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--namespaces", type=int, default=1, help="how many the items are spread over")
    parser.add_argument("--latency", type=float, default=0.2)
    given = parser.parse_args()
    print(f"{'':<28}{'clients':>8}{'/s':>10}{'p50 ms':>10}{'CPU-ms':>10}{'MB':>8}")
    chosen = random.Random(1)
    searches = [{"namespace_prefix": ["bench"], "query": sentence(chosen)[:30], "limit": 10} for _ in range(200)]
    run = {"assistant_id": "echo", "input": {"a": 1}}
    talk = {"messages": [{"role": "user", "content": "I like shoo-fly pie."}], "namespace": ["talks"]}
    with tempfile.TemporaryDirectory() as folder, slow_model(given.latency) as api_base:
        port = free_port()
        with process(port, BARE.format(port=port)) as pid:
            load("bare Starlette", port, pid, "/", [run], given.seconds)
        port = free_port()
        serve = ["serve", "--port", str(port), "--store", folder, "--bench", "--rate", "0", "--log-level", "warning"]
        serve += ["--model", "openai/some-model", "--api-base", api_base]
        with process(port, SERVE, *serve) as pid:
            load("runs.wait of echo", port, pid, "/runs/wait", [run], given.seconds)
            model = int(api_base.rpartition(":")[2].partition("/")[0])
            load(f"that LM alone, {given.latency:g} s", model, os.getpid(), "/v1/chat/completions", [{}], given.seconds)
            extraction = {"assistant_id": "extract_memories", "input": talk}
            load(f"extraction, {given.latency:g} s LM", port, pid, "/runs/wait", [extraction], given.seconds)
            fill(port, given.items, given.namespaces)
            load(f"search, {given.items} items", port, pid, "/store/items/search", searches, given.seconds)


if __name__ == "__main__":
    main()
