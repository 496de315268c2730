"""Evidence recall on LoCoMo (Maharana et al., 2024, arXiv:2402.17753): are the turns that answer a question found?

    python benchmarks/store_locomo_recall.py FILE [--embedder offline|local]

One item for each turn, with its place in the conversation as provenance; one namespace for each conversation; every
question asked as it stands. Recall@k is the share of a question's evidence turns among the first k items, averaged.
No model judges anything. What is fixed in the store was chosen on the first three conversations of the file.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from langmem_dspy.records import Provenance, PutOp
from langmem_dspy.store import FaissStore

CUTS = (5, 10, 20)
TUNED_ON = 3


def turns(conversation: dict[str, Any]) -> list[tuple[str, int, int, str]]:
    """(id, session, position, text) of every turn."""
    found, session = [], 1
    while f"session_{session}" in conversation:
        for position, turn in enumerate(conversation[f"session_{session}"]):
            image = f" [image: {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            found.append((turn["dia_id"], session, position, f"{turn['speaker']}: {turn['text']}{image}"))
        session += 1
    return found


def questions(sample: dict[str, Any], ids: set[str]) -> list[tuple[str, set[str]]]:
    """Questions whose evidence is known, with the ids of it."""
    found = []
    for asked in sample["qa"]:
        evidence = {e for entry in asked["evidence"] for e in re.findall(r"D\d+:\d+", entry)} & ids
        if evidence:
            found.append((asked["question"], evidence))
    return found


def measure(store: FaissStore, sample: dict[str, Any], name: str, modes: list[str]) -> dict[str, list[list[float]]]:
    """For each mode, the recall of every question at every cut."""
    said = turns(sample["conversation"])
    store.batch(
        [
            PutOp((name,), i, {"content": text}, provenance=Provenance(f"session {session}", (position,)))
            for i, session, position, text in said
        ]
    )
    results: dict[str, list[list[float]]] = {mode: [] for mode in modes}
    for question, evidence in questions(sample, {i for i, *_ in said}):
        for mode in modes:
            keys = [item.key for item in store.search((name,), query=question, limit=max(CUTS), mode=mode)]
            results[mode].append([len(evidence & set(keys[:k])) / len(evidence) for k in CUTS])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--embedder", default="offline")
    options = parser.parse_args()
    samples = json.loads(options.file.read_text())
    modes = ["hybrid", "lexical", "dense"]
    store = FaissStore(embedder=options.embedder)
    measured = [measure(store, sample, f"c{i}", modes) for i, sample in enumerate(samples)]
    print(f"{store.embedder!r}\n{'':38}{'':10}" + "".join(f"  @{k:<5}" for k in CUTS))
    for title, part in (("tuned on", measured[:TUNED_ON]), ("not tuned on", measured[TUNED_ON:])):
        for mode in modes:
            rows = [row for conversation in part for row in conversation[mode]]
            means = [100 * sum(row[i] for row in rows) / len(rows) for i in range(len(CUTS))]
            print(f"{title:14}{len(rows):5} questions   {mode:18}" + "".join(f"  {mean:5.1f}" for mean in means))


if __name__ == "__main__":
    main()
