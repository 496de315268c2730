import asyncio
import copy
import logging

import dspy
import pytest
from fakes import chat, fake_lm, input_field
from memory_fakes import insert, operations_reply
from pydantic import BaseModel

from langmem_dspy.errors import InputError
from langmem_dspy.memories.background import ReflectionExecutor
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.with_memory import WithMemory
from langmem_dspy.simulation import offline_lm
from langmem_dspy.store.faiss_store import FaissStore

NS = ("memories",)


class Profile(BaseModel):
    name: str = ""
    city: str = ""


def model(extracted):
    """Answers questions with what it sees of memories, and extractions with `extracted(schemas)`."""

    def answer(text):
        if "[[ ## operations ## ]]" in text:
            return operations_reply(extracted(input_field(text, "schemas")))
        return chat(
            reasoning="thinking", answer="You like " + ("pie" if "pie" in _recalled(text) else "nothing I know of")
        )

    return fake_lm(answer)


def _recalled(text):
    return input_field(text, "memories")


def pie(schemas):
    return [insert("User likes shoo-fly pie")] if schemas.startswith("Memory") else [insert({"city": "Rome"})]


@pytest.fixture
def store():
    with FaissStore() as store:
        yield store


def test_what_was_said_in_one_conversation_is_recalled_in_the_next(store):
    agent = WithMemory(dspy.ChainOfThought("question -> answer"), store)
    with dspy.context(lm=model(pie)):
        assert agent(question="I really like shoo-fly pie").answer == "You like nothing I know of"
        assert [item.value["content"] for item in store.search(NS)] == ["User likes shoo-fly pie"]
        assert agent(question="Which pie do I like?").answer == "You like pie"


def test_a_request_without_anything_to_recall_is_the_programs_own(store):
    program = dspy.Predict("question -> answer")
    lm = model(lambda _: [])
    with dspy.context(lm=lm):
        program(question="Hello")
        WithMemory(program, store)(question="Hello")
    assert lm.engine.requests[0] == lm.engine.requests[1]


def test_rules_and_profiles_are_always_on_and_profiles_learn(store):
    agent = WithMemory(dspy.Predict("question -> answer"), store, always=["Answer briefly.", Profile], search=False)
    lm = model(pie)
    with dspy.context(lm=lm):
        agent(question="I moved to Rome")
        agent(question="unrelated")
    first, second = (_recalled(text) for text in lm.engine.requests if "operations" not in text)
    assert first == "<memories>\n- Answer briefly.\n</memories>"
    assert '- Profile {"name": "", "city": "Rome"}' in second
    assert store.get(NS, "Profile").value["content"]["city"] == "Rome"


def test_what_was_recalled_is_not_extracted_again(store):
    store.put(NS, "pie", {"kind": "Memory", "content": "User likes shoo-fly pie"})
    lm = model(lambda _: [])
    with dspy.context(lm=lm):
        WithMemory(dspy.Predict("question -> answer"), store)(question="Which pie?")
    conversation = input_field(lm.engine.requests[-1], "conversation")
    assert conversation == "user: Which pie?\nassistant: You like pie"


def test_users_are_told_apart_and_namespace_variables_are_not_passed_on(store):
    agent = WithMemory(dspy.Predict("question -> answer"), store, namespace=("memories", "{user_id}"))
    with dspy.context(lm=model(pie)):
        agent(question="I like shoo-fly pie", user_id="ann")
        assert agent(question="Which pie?", user_id="ann").answer == "You like pie"
        assert agent(question="Which pie?", user_id="bob").answer == "You like nothing I know of"


def test_memories_that_have_nothing_to_do_with_a_request_stay_out_of_it(store):
    store.put(NS, "pie", {"kind": "Memory", "content": "User likes shoo-fly pie"})
    lm = model(lambda _: [])
    with dspy.context(lm=lm):
        WithMemory(dspy.Predict("question -> answer"), store, reflect=False)(question="Weather in Rome")
    assert "memories" not in lm.engine.requests[0]


def test_it_works_around_any_program_and_adapter(store):
    store.put(NS, "pie", {"kind": "Memory", "content": "User likes shoo-fly pie"})
    turns = [chat(next_thought="t", next_tool_name="finish", next_tool_args="{}"), chat(reasoning="r", answer="pie")]
    lm = fake_lm(lambda text: turns.pop(0))
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        agent = WithMemory(dspy.ReAct("question -> answer", tools=[]), store, reflect=False)
        assert agent(question="Which pie?").answer == "pie"
    assert all("shoo-fly pie" in _recalled(text) for text in lm.engine.requests)
    lm = fake_lm(lambda text: '{"answer": "pie"}')
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        agent = WithMemory(dspy.Predict("question -> answer"), store, reflect=False)
        assert agent(question="Which pie?").answer == "pie"
    assert "shoo-fly pie" in lm.engine.requests[0]


def test_an_answer_is_not_lost_when_reflection_fails(store, caplog):
    def answer(text):
        return RuntimeError("down") if "operations" in text else chat(answer="hello")

    with dspy.context(lm=fake_lm(answer)):
        assert WithMemory(dspy.Predict("question -> answer"), store)(question="Hi").answer == "hello"
    assert "could not be reflected on" in caplog.text and "down" in caplog.text


def test_it_can_reflect_in_the_background(store):
    with ReflectionExecutor(MemoryStoreManager(store=store), delay=3600) as executor:
        agent = WithMemory(dspy.Predict("question -> answer"), store, reflect=executor)
        with dspy.context(lm=model(pie)):
            agent(question="I like shoo-fly pie", thread_id="t")
            agent(question="Really", thread_id="t")
        assert store.search(NS) == [] and len(executor.pending()) == 1
        assert executor.drain(5)
        assert len(store.search(NS)) == 1


def test_a_rollouts_copy_leaves_no_trace_in_the_real_store(store):
    with ReflectionExecutor(MemoryStoreManager(store=store)) as executor:
        agent = WithMemory(dspy.Predict("question -> answer"), store, reflect=executor)
        scratch = store.scratch()
        copied = copy.deepcopy(agent, {id(store): scratch})
        with dspy.context(lm=model(pie)):
            copied(question="I like shoo-fly pie")
        assert executor.drain(5)
    assert store.search(NS) == [] and len(scratch.search(NS)) == 1


def test_wrong_parts_are_refused(store):
    with pytest.raises(InputError, match="program"):
        WithMemory("question -> answer", store)
    with ReflectionExecutor(MemoryStoreManager()) as executor, pytest.raises(InputError, match="the same store"):
        WithMemory(dspy.Predict("a -> b"), store, reflect=executor)
    with pytest.raises(InputError, match="always"):
        WithMemory(dspy.Predict("a -> b"), store, always=[7])


def test_awaiting_a_module_logs_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger("dspy.primitives.module"), "warning", lambda line, *_: said.append(line))
    with dspy.context(lm=offline_lm()):
        asyncio.run(WithMemory(dspy.Predict("message -> answer"), FaissStore()).acall(message="I like pie."))

    assert said == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"store": "memories"}, "store is a Store"),
        ({"search": "pie"}, "search is True, False or a MemorySearcher"),
        ({"reflect": "later"}, "reflect is True, False or a ReflectionExecutor"),
        ({"manager": "me"}, "manager is a MemoryManager"),
        ({"always": [Profile, Profile]}, "two profiles named Profile"),
    ],
)
def test_what_could_not_work_is_refused_where_it_is_given(options, told):
    with pytest.raises(InputError, match=told):
        WithMemory(dspy.Predict("message -> answer"), **options)


def test_an_executor_that_writes_where_nothing_is_recalled_from_is_refused():
    with FaissStore() as store:
        manager = MemoryStoreManager(store=store, namespace=("memories", "{user_id}"))
        with ReflectionExecutor(manager) as executor:
            program = dspy.Predict("message -> answer")
            WithMemory(program, store, namespace=("memories",), reflect=executor)  # it sees what lies below it
            with pytest.raises(InputError, match="same namespace"):
                WithMemory(program, store, namespace=("other",), reflect=executor)
