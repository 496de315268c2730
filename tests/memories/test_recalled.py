import dspy
import pytest
from memory_fakes import asked, insert, memory_lm

from langmem_dspy import simulation
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.memories.recalled import marked, without_recalled
from langmem_dspy.memories.tools import manage_memory_tool, search_memory_tool
from langmem_dspy.messages import read_messages
from langmem_dspy.store.faiss_store import FaissStore

RECALLED = marked("- The user likes pie")


def left_of(*messages):
    return " ".join(message.content for message in without_recalled(read_messages(list(messages))))


def user(text):
    return {"role": "user", "content": text}


def calls(*names):
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"name": name, "arguments": {"content": "pie"}} for name in names],
    }


def result(text, **more):
    return {"role": "tool", "content": text, **more}


@pytest.mark.parametrize(
    "text",
    [
        RECALLED,
        f"before {RECALLED} after",
        f"{RECALLED}{RECALLED}",
        RECALLED[:-12],  # cut off by whoever keeps the conversation short
        RECALLED.replace("\n", "\\n"),  # a result as JSON
        RECALLED.replace("\n", "\\n")[:-13],
    ],
)
def test_a_block_of_recalled_memories_is_left_out_wherever_it_stands(text):
    assert "pie" not in left_of(user(text), user("I like tea."))


def test_a_tag_that_someone_writes_takes_nothing_else_with_it():
    assert left_of(user("What does <memories> mean? I like tea.")) == "What does <memories> mean? I like tea."


def test_memory_tools_are_known_by_their_answers_whatever_they_are_called():
    with FaissStore() as store:
        recall, remember = search_memory_tool(store, name="recall"), manage_memory_tool(store, name="remember")
        created, found, nothing = remember(content="Ann likes pie"), recall("pie"), recall("quantum")
    for answer in (created, found, nothing):
        kept = without_recalled(read_messages([user("I like tea."), calls("recall"), result(answer), calls("recall")]))
        assert [message.content for message in kept] == ["I like tea."], answer


def test_of_calls_made_at_once_only_those_of_memory_tools_are_left_out():
    kept = left_of(calls("search_memory", "weather"), result("The user likes pie"), result("It rains in Rome"))
    assert kept.strip() == "It rains in Rome"
    named = left_of(calls("weather", "recall"), result("It rains", name="weather"), result(RECALLED, name="recall"))
    assert named.strip() == "It rains"


def test_nothing_is_extracted_from_what_was_recalled_however_eager_the_model():
    def eager(text):
        return [insert("User likes pie")] if "pie" in text.partition("[[ ## conversation ## ]]")[2] else []

    lm = memory_lm(eager)
    with dspy.context(lm=lm):
        talk = [user(f"{RECALLED}\nI like tea."), calls("recall"), result(RECALLED)]
        assert MemoryManager()(messages=talk).memories == []
    assert "pie" not in asked(lm, "conversation")


def test_a_store_does_not_grow_from_conversations_in_which_its_memories_are_recalled():
    with FaissStore() as store, dspy.context(lm=simulation.offline_lm("strong")):
        remember, recall = MemoryStoreManager(store=store), search_memory_tool(store, name="look_up")
        remember(messages="I really like shoo-fly pie. My sister is allergic to walnuts.")
        before = [item.dict() for item in store.search(())]
        for question in ("Which pie do I like?", "What is my sister allergic to?", "Pie or walnuts?"):
            remember(messages=[user(question), calls("look_up"), result(recall(question))])
        assert [item.dict() for item in store.search(())] == before
