"""Two processes write to one store and are killed with SIGKILL in the middle of it: is anything acknowledged lost?

    python benchmarks/store_kill.py [--rounds 20]

After each round the store is checked, every acknowledged write is looked up and a search is compared with the items;
the next round goes on with the same folder. The shards count as large from 500 items on, so snapshots are written too.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

from langmem_dspy.store import FaissStore, quantized

LARGE = 500
WRITER = f"""
import sys
from langmem_dspy.records import PutOp
from langmem_dspy.store import FaissStore, quantized
quantized.EXACT_UP_TO = {LARGE}
folder, name, start = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = FaissStore(folder)
for i in range(start, start + 100_000):
    if i % 2:
        store.put(("w", name), f"k{{i}}", {{"content": f"pie {{name}} {{i}}", "i": i}})
    else:
        store.batch([PutOp(("w", name), f"k{{i}}/{{j}}", {{"content": f"pie {{i}} {{j}}", "i": i}}) for j in range(50)])
    if i % 7 == 0:
        store.delete(("w", name), f"k{{i}}/0" if i % 2 == 0 else f"k{{i}}")
    print(i, flush=True)
    if i % 5 == 0:
        store.search(("w",), query="pie", limit=3)
"""


def lost(store: FaissStore, name: str, start: int, end: int) -> int:
    """How many acknowledged writes of `name` are not there as they were written."""
    missing = 0
    for i in range(start, end):
        keys = [f"k{i}"] if i % 2 else [f"k{i}/{j}" for j in range(50)]
        for key in keys:
            gone = i % 7 == 0 and key == keys[0]
            item = store.get(("w", name), key)
            missing += (item is not None) if gone else (item is None or item.value["i"] != i)
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    quantized.EXACT_UP_TO = LARGE
    random.seed(0)
    acknowledged = problems = missing = wrong = 0
    nexts = {"one": 0, "two": 0}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            writers = {
                name: subprocess.Popen(
                    [sys.executable, "-c", WRITER, folder, name, str(start)], stdout=subprocess.PIPE, text=True
                )
                for name, start in nexts.items()
            }
            for writer in writers.values():
                writer.stdout.readline()  # type: ignore[union-attr]
            time.sleep(random.uniform(0.2, 1.0))
            for writer in writers.values():
                os.kill(writer.pid, signal.SIGKILL)
            before = dict(nexts)
            for name, writer in writers.items():
                nexts[name] += 1 + len(writer.communicate()[0].split())
            with FaissStore(folder) as store:
                # A write that was made but not acknowledged may be there: the next round begins after it.
                found_wrong = store.check()
                problems += len(found_wrong)
                print(*found_wrong, sep="\n", end="\n" if found_wrong else "")
                for name in nexts:
                    missing += lost(store, name, before[name], nexts[name])
                    acknowledged += nexts[name] - before[name]
                    nexts[name] += 1
                items = store.stats()["items"]
                found = store.search(("w",), query="pie", limit=1_000_000)
                wrong += len(found) != items
                nearest = store.search(("w",), query="pie one 1", mode="dense", limit=5)
                wrong += len(nearest) != 5
            print(f"round {number + 1:2}: {acknowledged} acknowledged, {items} items, {missing} lost", flush=True)
    counts = f"{missing} lost, {problems} problems, {wrong} wrong searches"
    print(f"{rounds} rounds, {acknowledged} acknowledged writes: {counts}")
    sys.exit(bool(missing or problems or wrong))


if __name__ == "__main__":
    main()
