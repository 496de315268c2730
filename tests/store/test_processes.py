"""Several processes on one folder, and processes that are killed."""

import os
import signal
import subprocess
import sys

import pytest

from langmem_dspy.store import FaissStore

ANN = ("memories", "ann")

WRITER = """
import sys
from langmem_dspy.records import PutOp
from langmem_dspy.store import FaissStore
folder, name = sys.argv[1:]
with FaissStore(folder) as store:
    for i in range(100_000):
        if i % 3:
            store.put(("w", name), str(i), {"content": f"pie {name} {i}", "i": i})
        else:
            store.batch([PutOp(("w", name), f"{i}/{j}", {"content": f"pie {i}", "i": i, "j": j}) for j in range(20)])
        print(i, flush=True)  # acknowledged
        if i % 10 == 0:
            store.search(("w",), query="pie", limit=3)
"""


def start(folder, name):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def acknowledged(process):
    return [int(line) for line in process.stdout.read().split()]


def test_a_reader_sees_what_another_process_wrote(tmp_path):
    with FaissStore(tmp_path) as store:
        store.put(ANN, "k1", {"content": "soup"})
        assert store.search(ANN, query="pie", min_score=0.05) == []
        code = (
            "import sys; from langmem_dspy.store import FaissStore\n"
            "with FaissStore(sys.argv[1]) as s:\n"
            "  s.put(('memories','ann'), 'k2', {'content': 'shoo-fly pie'})\n"
            "  s.put(('memories','ann'), 'k1', {'content': 'changed'})\n"
            "  s.put(('memories','new'), 'k', {'content': 'pie in a new namespace'})\n"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        assert [i.key for i in store.search(ANN, query="pie", min_score=0.05)] == ["k2"]
        assert store.get(ANN, "k1").value["content"] == "changed"
        assert len(store.search(("memories",), query="pie", min_score=0.05)) == 2


@pytest.mark.parametrize("round", range(2))
def test_nothing_that_was_acknowledged_is_lost_when_writers_are_killed(tmp_path, round):
    writers = [start(tmp_path, name) for name in ("one", "two")]
    for writer in writers:
        for _ in range(25 + 20 * round):
            writer.stdout.readline()
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
    counts = [25 + 20 * round + len(acknowledged(writer)) for writer in writers]
    [writer.communicate() for writer in writers]
    with FaissStore(tmp_path) as store:
        assert store.check() == []
        for name, count in zip(("one", "two"), counts, strict=True):
            found = {i.key: i.value for i in store.search(("w", name), query="pie", limit=100_000)}
            for i in range(count):
                keys = [str(i)] if i % 3 else [f"{i}/{j}" for j in range(20)]
                assert all(found[key]["i"] == i for key in keys)
            batches = [sum(k.startswith(f"{i}/") for k in found) for i in range(0, count + 9, 3)]
            assert set(batches) <= {0, 20}  # a batch is there in whole or not at all


def test_an_optimistic_write_of_two_processes_is_won_by_one_each_time(tmp_path):
    code = (
        "import sys; from langmem_dspy.store import FaissStore; from langmem_dspy.errors import ConflictError\n"
        "won = 0\n"
        "with FaissStore(sys.argv[1]) as s:\n"
        "  while won < 25:\n"
        "    item = s.get(('c',), 'n')\n"
        "    try:\n"
        "      s.put(('c',), 'n', {'n': item.value['n'] + 1}, if_version=item.version); won += 1\n"
        "    except ConflictError: pass\n"
    )
    with FaissStore(tmp_path) as store:
        store.put(("c",), "n", {"n": 0})
        workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
        assert [worker.wait(60) for worker in workers] == [0, 0]
        assert store.get(("c",), "n").value == {"n": 50}


def test_a_process_ends_although_something_is_being_built(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from langmem_dspy.store import FaissStore, quantized; from langmem_dspy.records import PutOp\n"
        "quantized.EXACT_UP_TO = 1000\n"
        "s = FaissStore(sys.argv[1], embedder=lambda t: np.ones((len(t), 384)))\n"
        "rng = np.random.default_rng(0)\n"
        "s.batch([PutOp(('a',), str(i), {}, vector=rng.standard_normal(384)) for i in range(4000)])\n"
        "print(len(s.search(('a',), query_vector=rng.standard_normal(384))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "10"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_store_used_after_a_fork_says_so(tmp_path):
    code = (
        "import os, sys; from langmem_dspy.store import FaissStore; from langmem_dspy.errors import StoreError\n"
        "s = FaissStore(sys.argv[1]); s.put(('a',), 'k', {'content': 'x'})\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "  try: s.get(('a',), 'k'); os._exit(1)\n"
        "  except StoreError as e: os._exit(0 if 'fork' in str(e) else 2)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), s.get(('a',), 'k').value)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.strip() == "0 {'content': 'x'}", done.stderr
