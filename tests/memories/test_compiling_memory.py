"""The memory system is a program itself: the same teleprompters compile it, and leave no trace in the user's store."""

import dspy
import pytest

from langmem_dspy import simulation
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.memories.tools import manage_memory_tool, search_memory_tool
from langmem_dspy.memories.with_memory import WithMemory
from langmem_dspy.namespaces import memory_context
from langmem_dspy.optimizers.kinds import GradientOptimizer
from langmem_dspy.store.faiss_store import FaissStore
from langmem_dspy.usage import Budget

TALKS = [
    dspy.Example(messages=f"I like dish {i} and I moved to city {i}.", facts=[f"dish {i}", f"city {i}"]).with_inputs(
        "messages"
    )
    for i in range(4)
]


def recall(gold, pred, trace=None):
    """The share of the facts told that are remembered."""
    said = " ".join(str(item.value if hasattr(item, "value") else item.content) for item in _kept(pred))
    return sum(fact in said for fact in gold.facts) / len(gold.facts)


def _kept(pred):
    return pred["items"] if "items" in pred.keys() else pred.memories  # noqa: SIM118 - a Prediction is no dict


@pytest.fixture
def store():
    with FaissStore() as store:
        store.put(("memories",), "old", {"kind": "Memory", "content": "The user likes tea"})
        yield store


def compiled(program, trainset, metric):
    optimizer = GradientOptimizer(metric=metric, budget=Budget(lm_calls=60), max_steps=1, num_threads=2)
    with dspy.context(lm=simulation.offline_lm("strong"), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        return optimizer.compile(program, trainset=trainset, valset=trainset)


def test_extraction_is_compiled_against_a_recall_metric():
    better = compiled(MemoryManager(), TALKS, recall)
    results = better.detailed_results
    scores = results.candidates[results.best_index].valset_scores.values()
    assert len(scores) == 4 and sum(scores) / 4 > 0.8
    assert results.usage.lm_calls > 0 and not results.errors


@pytest.mark.parametrize("make", [lambda s: MemoryStoreManager(store=s), lambda s: WithMemory(_Extracting(s), s)])
def test_the_users_store_is_as_it_was_after_compiling(store, make):
    before = store.search((), limit=100)
    compiled(make(store), TALKS, recall)
    assert [item.dict() for item in store.search((), limit=100)] == [item.dict() for item in before]


def test_an_agent_with_memory_tools_leaves_no_trace_either(store):
    agent = dspy.ReAct("message -> answer", tools=[manage_memory_tool(store), search_memory_tool(store)], max_iters=3)
    examples = [dspy.Example(message=f"I like dish {i}.", facts=[]).with_inputs("message") for i in range(3)]
    compiled(agent, examples, lambda gold, pred, trace=None: 0.5)
    assert [item.key for item in store.search((), limit=100)] == ["old"]


class _Extracting(dspy.Module):
    def __init__(self, store):
        super().__init__()
        self.memory = MemoryStoreManager(store=store)

    def forward(self, messages):
        return self.memory(messages=messages)


def test_a_store_of_the_context_is_left_alone_too(store):
    class Remembering(dspy.Module):
        def __init__(self):
            super().__init__()
            self.memory = MemoryStoreManager()

        def forward(self, messages):
            return self.memory(messages=messages)

    with memory_context(store=store):
        compiled(Remembering(), TALKS, recall)
    assert [item.key for item in store.search((), limit=100)] == ["old"]
