"""A bulk extraction is killed with SIGKILL in the middle of it, and started again with the same command."""

import json
import os
import re
import signal
import subprocess
import sys
import time

from langmem_dspy import simulation
from langmem_dspy.store.faiss_store import FaissStore

TALKS, THREADS = 120, 8


def start(folder, endpoint):
    command = ["memories", "extract", "chats.jsonl", "--model", endpoint.model, "--api-base", endpoint.api_base]
    command += ["--namespace", "memories/{user_id}", "--concurrency", str(THREADS)]
    program = "from langmem_dspy.cli import main; main()"
    environment = {**os.environ, "OPENAI_API_KEY": "none", "DSPY_CACHEDIR": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-c", program, *command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )


def done(folder):
    return sum(file.read_text().count("\n") for file in folder.glob("memories/extracted/*.txt"))


def test_killed_in_the_middle_it_goes_on_and_asks_only_for_what_was_in_flight(tmp_path):
    talks = [
        {"user_id": f"u{i % 30}", "messages": [{"role": "user", "content": f"I like dish{i}."}]} for i in range(TALKS)
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, talks)))
    with simulation.serve("strong", latency=0.1) as endpoint:
        process = start(tmp_path, endpoint)
        deadline = time.monotonic() + 60
        while done(tmp_path) < TALKS // 4 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = done(tmp_path)
        assert TALKS // 4 <= before < TALKS
        out, _ = start(tmp_path, endpoint).communicate(timeout=120)
    assert f"{TALKS - before} of {TALKS} conversations extracted, {before} were done before" in out
    calls = int(re.search(r"(\d+) calls", out)[1])
    assert TALKS - before - 2 * THREADS <= calls <= TALKS - before  # replies that had come were in DSPy's cache
    with FaissStore(tmp_path / "memories") as store:
        found = [item.value["content"] for item in store.search((), limit=1000)]
        assert store.check() == []
    assert len(found) == len(set(found)) and len(found) >= 0.9 * TALKS  # the model overlooks one in fifty
