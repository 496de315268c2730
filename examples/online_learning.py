"""An agent that learns from what its users say, while it works: offline, in a few seconds.

    python examples/online_learning.py

Give `OnlineOptimizer` your program and a `path`, and hand `learn` to an executor so that nobody waits for it.
"""

from concurrent.futures import ThreadPoolExecutor

import dspy

from langmem_dspy import Budget, OnlineOptimizer, simulation
from langmem_dspy.simulation import worlds

dspy.configure(lm=simulation.offline_lm())  # or dspy.LM("openai/gpt-4.1-mini")


def main() -> None:
    office = worlds.load("expense_office")
    with OnlineOptimizer(office.program(), every=6, budget=Budget(lm_calls=200)) as online:
        with ThreadPoolExecutor(1) as background:
            for claim in office.trainset[:20]:
                live = online.run(**claim.inputs())
                feedback = office.metric(claim, live.prediction).feedback  # in life, a user says it
                background.submit(online.learn, live, feedback).add_done_callback(lambda done: print(done.result()))
        print(online.version.prompts["letter"])


if __name__ == "__main__":
    main()
