"""An agent that learns from passive reflection: it answers at once, and learns once a conversation has gone quiet.

The agent has no memory tools and spends no thought on remembering. Each turn is handed to a ReflectionExecutor, which
waits until the thread is quiet, extracts what is worth remembering, and writes it where the next conversation finds it.
What is pending survives the end of the process: run this with a folder, end it early, and run it again.

    python examples/passive_reflection.py                            # offline, with the simulated model
    python examples/passive_reflection.py openai/gpt-4.1-mini memory # your model, memories kept in ./memory
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import dspy

from langmem_dspy import FaissStore, ReflectionExecutor, WithMemory, create_memory_store_enricher, simulation

QUIET = 0.2  # seconds after which a conversation counts as over; minutes, in earnest
THREADS = {
    "monday": ["I really like shoo-fly pie.", "And I moved to Lancaster last week."],
    "friday": ["Which pie do I like?", "Where did I move?"],
}


def main(model: str | None = None, folder: str | None = None) -> None:
    if model is None:
        print("No model was given: this is the simulated one, which needs no network.\n")
    dspy.configure(lm=simulation.offline_lm("strong") if model is None else dspy.LM(model))
    home = Path(folder or tempfile.mkdtemp(prefix="passive-reflection-"))
    namespace = ("memories", "{user_id}")
    with FaissStore(home / "store") as store:
        enricher = create_memory_store_enricher(store=store, namespace=namespace)
        with ReflectionExecutor(enricher, path=home / "pending.sqlite", delay=QUIET) as reflections:
            program = dspy.Predict("message -> answer")
            agent = WithMemory(program, store, namespace=namespace, reflect=reflections)
            for thread, messages in THREADS.items():
                print(f"--- {thread}")
                for message in messages:
                    answer = agent(message=message, user_id="ann", thread_id=thread).answer
                    print(f"user:      {message}\nassistant: {answer}")
                print(f"({len(reflections.pending())} reflection waits for the thread to go quiet)")
                reflections.drain(timeout=60)
                for item in store.search(("memories", "ann"), limit=10):
                    print(f"remembered: {item.value['content']}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
