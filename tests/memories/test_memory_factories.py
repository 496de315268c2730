import asyncio
import inspect
import typing
import uuid
import warnings

import dspy
import pytest
from fakes import chat, fake_lm
from memory_fakes import asked, insert, memory_lm, update
from pydantic import BaseModel

import langmem_dspy.namespaces
from langmem_dspy import simulation
from langmem_dspy.errors import InputError, NamespaceError, ReplyError
from langmem_dspy.memories.background import ReflectionExecutor
from langmem_dspy.memories.schemas import ExtractedMemory, Memory
from langmem_dspy.memory_factories import (
    create_manage_memory_tool,
    create_memory_enricher,
    create_memory_manager,
    create_memory_searcher,
    create_memory_store_enricher,
    create_search_memory_tool,
    create_thread_extractor,
)
from langmem_dspy.namespaces import memory_context
from langmem_dspy.records import Item
from langmem_dspy.store.faiss_store import FaissStore

TALK = [{"role": "user", "content": "I prefer dark mode"}]
PREFERENCE = {
    "title": "UserPreference",
    "type": "object",
    "properties": {"preference": {"type": "string"}, "category": {"type": "string"}},
    "description": "User preferences",
}


class Pet(BaseModel):
    name: str = ""
    age: int = 0


@pytest.fixture
def store():
    with FaissStore() as store:
        yield store


def test_an_enricher_is_a_function_from_state_to_state():
    lm = memory_lm([insert("User prefers dark mode")])
    enrich = create_memory_enricher(lm)
    (memory,) = enrich(TALK)
    assert isinstance(memory, ExtractedMemory) and memory.content == Memory(content="User prefers dark mode")
    again = enrich(TALK, [memory])
    assert again == [memory] and enrich.last_dropped[0].needless
    assert enrich.last_usage.lm_calls == 1 and lm.engine.calls == 2


def test_all_four_ways_to_call_it_agree():
    lm = memory_lm([update("m1", "User prefers light mode")])
    enrich = create_memory_manager(lm)
    given = {"messages": TALK, "existing": [("a", "User prefers dark mode")], "max_steps": 2}
    expected = [("a", Memory(content="User prefers light mode"))]
    assert enrich(**given) == enrich.invoke(given) == expected
    assert asyncio.run(enrich.acall(**given)) == asyncio.run(enrich.ainvoke(given)) == expected
    with pytest.raises(InputError, match="messages, and perhaps existing, max_steps"):
        enrich.invoke({"message": TALK})


def test_the_readmes_store_enricher(store):
    lm = memory_lm([insert({"preference": "dark mode", "category": "ui"})])
    enricher = create_memory_store_enricher(lm, schemas=[PREFERENCE], store=store, enable_inserts=True)
    (item,) = asyncio.run(enricher.manage_memories(TALK))
    assert isinstance(item, Item) and item.namespace == ("memories",)
    assert item.value == {"kind": "UserPreference", "content": {"preference": "dark mode", "category": "ui"}}
    assert store.search((), query="UI preferences dark")[0].key == item.key


def test_namespace_variables_come_as_arguments_config_or_context(store):
    lm = memory_lm([insert("User prefers dark mode")])
    enricher = create_memory_store_enricher(lm, store=store, namespace=("m", "{langgraph_user_id}"))
    enricher.invoke({"messages": TALK}, config={"configurable": {"langgraph_user_id": "ann", "thread_id": "t"}})
    enricher(TALK, langgraph_user_id="bob")
    with memory_context(langgraph_user_id="eve"):
        asyncio.run(enricher.ainvoke({"messages": TALK, "max_steps": 1}))
    assert store.list_namespaces() == [("m", "ann"), ("m", "bob"), ("m", "eve")]
    with pytest.raises(NamespaceError, match="langgraph_user_id"):
        enricher(TALK)


def test_an_enricher_reflects_in_the_background_as_it_is(store):
    enricher = create_memory_store_enricher(memory_lm([insert("User prefers dark mode")]), store=store)
    with ReflectionExecutor(enricher) as executor:
        (item,) = executor.submit(TALK).result(5)
    assert store.get(("memories",), item.key) is not None and executor.store is store


def test_without_a_store_there_is_one_for_the_process_with_a_warning_once(monkeypatch):
    monkeypatch.setattr(langmem_dspy.namespaces, "_process_store", None)
    manage, search = create_manage_memory_tool(), create_search_memory_tool()
    with pytest.warns(UserWarning, match="one in-memory store of this process"):
        manage(content="User prefers dark mode")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "dark mode" in search("dark mode")
    langmem_dspy.namespaces._process_store.close()


def test_a_searcher_finds_what_the_model_asks_for(store):
    create_manage_memory_tool(store)(content="User prefers dark mode")
    lm = fake_lm(lambda _: chat(queries='["user interface dark mode"]'))
    searcher = create_memory_searcher(lm, store=store, instructions="Search for preferences.")
    assert [item.value["content"] for item in searcher(TALK)] == ["User prefers dark mode"]
    assert searcher.invoke({"messages": TALK}) == searcher(TALK)
    assert "Search for preferences." in lm.engine.requests[0] and searcher.last_usage.lm_calls == 1


def test_a_searcher_whose_model_says_nothing_readable_searches_with_the_conversation(store):
    create_manage_memory_tool(store)(content="User prefers dark mode")
    assert len(create_memory_searcher(fake_lm(lambda _: "garbage"), store=store)(TALK)) == 1
    assert create_memory_searcher(fake_lm(lambda _: chat(queries="[]")), store=store)(TALK) == []


def test_a_thread_becomes_one_document():
    lm = fake_lm(lambda _: chat(document='{"title": "Modes", "summary": "User prefers dark mode."}'))
    extract = create_thread_extractor(lm)
    assert extract(TALK).title == extract.invoke({"messages": TALK}).title == "Modes"
    assert extract([]) is None and lm.engine.calls == 2

    class Topic(BaseModel):
        topics: list[str]

    lm = fake_lm(lambda _: chat(document='{"topics": ["a"]}'))
    assert create_thread_extractor(lm, schema=Topic, instructions="List topics.")(TALK) == Topic(topics=["a"])
    assert asked(lm, "guidelines") == "List topics."
    with pytest.raises(ReplyError):
        create_thread_extractor(fake_lm(lambda _: "garbage"), schema=Topic)(TALK)


def test_a_long_thread_is_carried_on_part_by_part():
    lm = fake_lm(lambda _: chat(document='{"title": "T", "summary": "S"}'))
    create_thread_extractor(lm)([{"role": "user", "content": "word " * 40_000}])
    assert lm.engine.calls == 2 and '"summary":"S"' in asked(lm, "part_before")


def test_the_conceptual_guides_calls_work():
    class UserProfile(BaseModel):
        preferences: dict[str, str] = {}

    lm = memory_lm([insert({"preferences": {"mode": "dark"}})], [insert({"preferences": {"font": "mono"}})])
    enricher = create_memory_enricher(lm, schemas=[UserProfile], kind="single")
    state = enricher(TALK)
    assert enricher(TALK, state) == [(state[0].id, UserProfile(preferences={"mode": "dark", "font": "mono"}))]
    tool = create_manage_memory_tool(kind="multi", namespace_prefix=("user", "experiences"))
    assert isinstance(tool, dspy.Tool)
    with pytest.raises(InputError, match="give one of them"):
        create_manage_memory_tool(namespace=("a",), namespace_prefix=("b",))


def test_what_a_model_asks_for_in_vain_is_logged(caplog):
    create_memory_enricher(memory_lm([update("m9", "x")], []))(TALK, ["known"])
    assert "not done: update m9: there is no memory 'm9'" in caplog.text


def test_a_model_is_needed_only_when_it_is_called():
    enrich = create_memory_enricher()
    with dspy.context(lm=None), pytest.raises(InputError, match="no language model"):
        enrich(TALK)


def test_what_the_query_model_is_asked_counts_as_spent(store):
    writer = fake_lm(lambda text: chat(queries='["dark mode"]'))
    enricher = create_memory_store_enricher(memory_lm([insert("User likes tea")]), store=store, query_model=writer)
    enricher(TALK)
    enricher(TALK)
    assert writer.engine.calls == 2
    assert enricher.last_usage.lm_calls == 2


def test_a_namespace_given_first_as_langmem_takes_it_is_not_taken_for_a_store(store):
    with memory_context(store=store, user_id="ann"):
        create_manage_memory_tool(("memories", "{user_id}"))(content="Ann likes pie")
        assert "Ann likes pie" in create_search_memory_tool("memories")("pie")
    with pytest.raises(InputError, match="given 2 times"):
        create_search_memory_tool("memories", namespace=("other",))
    with pytest.raises(InputError, match="store is a Store"):
        create_manage_memory_tool(3)


def test_a_tools_config_fills_its_namespace(store):
    manage = create_manage_memory_tool(store, namespace=("memories", "{user_id}"))
    manage.invoke({"content": "Bob likes tea"}, {"configurable": {"user_id": "bob"}})
    asyncio.run(manage.ainvoke({"content": "Bob likes rye"}, config={"configurable": {"user_id": "bob"}}))
    assert len(store.search(("memories", "bob"))) == 2
    user = uuid.uuid4()
    manage.invoke({"content": "likes rum"}, {"configurable": {"user_id": user, "checkpoint": object()}})
    assert len(store.search(("memories", str(user)))) == 1


def test_a_store_that_is_none_is_refused_where_it_is_given():
    for make in (create_memory_store_enricher, create_memory_searcher):
        for wrong in ("memories", FaissStore):
            with pytest.raises(InputError, match="store is a Store"):
                make(fake_lm(lambda text: "no"), store=wrong)


@pytest.mark.parametrize("template", [("memories", "{user id}"), ("{}",), (), ("memories", "")])
def test_a_namespace_no_one_could_fill_is_refused_where_it_is_given(store, template):
    for make in (create_memory_store_enricher, create_memory_searcher):
        with pytest.raises(NamespaceError):
            make(None, store=store, namespace=template)
    with pytest.raises(NamespaceError):
        create_manage_memory_tool(store, namespace=template)


def test_a_variable_that_fills_nothing_is_warned_of_since_it_keeps_no_one_apart(store):
    remember = create_memory_store_enricher(simulation.offline_lm("strong"), store=store)
    with pytest.warns(UserWarning, match="user_id fills nothing"):
        remember("I like pie.", user_id="ann")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        remember("I like tea.", thread_id="monday")
        remember.invoke({"messages": "I like figs."}, {"configurable": {"user_id": "ann"}})


def test_langmems_forms_of_a_tools_place_are_taken(store):
    tool = create_manage_memory_tool(("memories", "{user_id}"), store=store)
    with memory_context(user_id="ann"):
        tool(content="Ann likes pie")
    assert store.search(("memories", "ann"))
    with pytest.raises(InputError, match="given twice"):
        create_search_memory_tool(store, store=store)


def test_langmems_verbs_of_a_store_manager_work_in_its_namespace(store):
    manager = create_memory_store_enricher(fake_lm(lambda text: "no"), store=store, namespace=("m", "{user_id}"))
    config = {"configurable": {"user_id": "ann"}}
    manager.put("a", {"content": "Ann likes pie"}, config=config)
    assert manager.get("a", config=config).value == {"content": "Ann likes pie"}
    assert manager.get("a", user_id="bob") is None
    assert [item.key for item in manager.search(query="pie", user_id="ann")] == ["a"]
    manager.delete("a", config)
    assert manager.search(user_id="ann") == []

    async def awaited():
        await manager.aput("b", {"content": "tea"}, user_id="bob")
        found = [await manager.aget("b", user_id="bob"), *await manager.asearch(user_id="bob")]
        await manager.adelete("b", user_id="bob")
        return [item.key for item in found], await manager.aget("b", user_id="bob")

    assert asyncio.run(awaited()) == (["b", "b"], None)


def test_a_searchers_instructions_may_be_called_prompt_and_a_threads_schema_come_first(store):
    searcher = create_memory_searcher(None, "Find food.", store=store)
    assert searcher.module.write.signature.instructions == "Find food."
    with pytest.raises(InputError, match="prompt or instructions"):
        create_memory_searcher(None, "a", instructions="b")
    assert create_thread_extractor(None, Pet).extractor is not None


def test_a_searcher_gives_nothing_that_has_nothing_to_do_with_the_conversation(store):
    store.put(("memories",), "a", {"content": "The user likes shoo-fly pie"})
    store.put(("memories",), "b", {"content": "The sky was grey"})
    search = create_memory_searcher(simulation.offline_lm("strong"), store=store)
    assert [item.key for item in search("Which pie do I like?")] == ["a"]


@pytest.mark.parametrize("default", [{"age": "old"}, 3, {"colour": "red"}])
def test_a_default_that_fits_no_schema_is_refused_where_it_is_given(store, default):
    with pytest.raises(InputError, match="default"):
        create_memory_store_enricher(None, store=store, schemas=[Pet], kind="single", default=default)


@pytest.mark.parametrize("ttl", [0, -1, "5", True])
def test_a_ttl_is_checked_where_it_is_given(store, ttl):
    with pytest.raises(InputError, match="ttl"):
        create_memory_store_enricher(None, store=store, ttl=ttl)


@pytest.mark.parametrize("said", ["I like tea.\x00 I like pie.", "I like tea.\ud800 I like pie."])
def test_what_no_store_takes_in_a_conversation_does_not_keep_it_from_being_remembered(store, said):
    remember = create_memory_store_enricher(simulation.offline_lm("strong"), store=store)
    assert remember(said)


def test_the_functions_have_signatures_of_their_own():
    enrich = create_memory_enricher()
    assert list(inspect.signature(enrich).parameters) == ["messages", "existing", "max_steps"]
    assert typing.get_type_hints(type(enrich).__call__)["return"] == list[ExtractedMemory]
