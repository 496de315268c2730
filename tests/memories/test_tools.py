import asyncio
import copy
import json
import re

import dspy
import pytest
from fakes import chat, fake_lm
from memory_fakes import insert, memory_lm
from pydantic import BaseModel

from langmem_dspy.errors import InputError, NamespaceError
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.tools import manage_memory_tool, search_memory_tool
from langmem_dspy.namespaces import memory_context
from langmem_dspy.store.faiss_store import FaissStore

NS = ("memories",)


class Profile(BaseModel):
    name: str = ""
    settings: dict[str, str] = {}


@pytest.fixture
def store():
    with FaissStore() as store:
        yield store


def id_of(answer):
    return answer.rstrip(".").split()[-1]


def lines(answer):
    assert answer.startswith("<memories>\n") and answer.endswith("\n</memories>")
    return [json.loads(line) for line in answer.splitlines()[1:-1]]


def test_a_memory_is_created_found_updated_and_deleted(store):
    manage, search = manage_memory_tool(store), search_memory_tool(store)
    key = id_of(manage(content="User likes shoo-fly pie"))
    (found,) = lines(search(query="pie"))
    assert found["id"] == key and found["content"] == "User likes shoo-fly pie" and found["score"] > 0
    assert set(found) == {"id", "content", "score"}
    assert manage(action="update", id=key, content="User hates shoo-fly pie") == f"Updated memory {key}."
    assert lines(search("pie"))[0]["content"] == "User hates shoo-fly pie"
    assert manage(action="delete", id=key) == f"Deleted memory {key}."
    assert search("pie") == "No memories were found for 'pie'."


def test_tools_and_managers_share_a_namespace(store):
    from memory_fakes import asked, memory_lm

    manage_memory_tool(store)(content="User likes shoo-fly pie")
    lm = memory_lm([])
    with dspy.context(lm=lm):
        MemoryStoreManager(store=store)(messages="I bake pie")
    assert asked(lm, "known_memories") == "m1: User likes shoo-fly pie"


def test_what_cannot_be_done_is_said_to_the_model(store):
    manage = manage_memory_tool(store)
    assert "There is no memory nope" in manage(action="update", id="nope", content="x")
    assert "There is no memory nope" in manage(action="delete", id="nope")
    assert "give its id" in manage(action="delete")
    assert "content is needed" in manage(content="  ")
    key = id_of(manage(content="User likes tea"))
    assert manage(content="The user likes tea!") == f"Already known as memory {key}."
    assert len(store.search(NS)) == 1


def test_only_permitted_actions_are_offered_and_done(store):
    manage = manage_memory_tool(store, actions_permitted=("create",))
    assert manage.args["action"]["enum"] == ["create"] and "id" not in manage.args
    with pytest.raises(ValueError):
        manage(action="delete", id="x")
    for wrong in ((), ("create", "burn")):
        with pytest.raises(InputError, match="actions_permitted"):
            manage_memory_tool(store, actions_permitted=wrong)


def test_a_profile_is_one_document_and_updates_merge(store):
    manage = manage_memory_tool(store, kind="single", schema=Profile)
    assert "id" not in manage.args
    manage(content={"name": "Ann", "settings": {"theme": "dark"}})
    assert manage(content='{"settings": {"font": "mono"}}', action="update") == "Updated memory Profile."
    assert store.get(NS, "Profile").value == {
        "kind": "Profile",
        "content": {"name": "Ann", "settings": {"theme": "dark", "font": "mono"}},
    }
    assert "has no field shoe" in manage(content={"shoe": 1})
    assert "JSON object" in manage(content="not json")


def test_store_user_and_namespace_are_no_arguments_of_the_model(store):
    for tool in (manage_memory_tool(), search_memory_tool()):
        assert not {"store", "namespace", "user_id", "config"} & set(tool.args)
        with pytest.raises(ValueError, match="user_id"), memory_context(store=store):
            tool(**({"query": "x"} if "query" in tool.args else {"content": "x"}), user_id="mallory")


def test_users_are_told_apart_by_the_context(store):
    manage, search = (
        manage_memory_tool(namespace=("memories", "{user_id}")),
        search_memory_tool(namespace=("memories", "{user_id}")),
    )
    with memory_context(store=store, user_id="ann"):
        manage(content="User likes pie")
        assert "User likes pie" in search("pie")
    with memory_context(store=store, user_id="bob"):
        assert search("pie").startswith("No memories")
    with pytest.raises(NamespaceError), memory_context(store=store):
        search("pie")


def test_a_minimum_score_binds_every_search(store):
    manage_memory_tool(store)(content="User likes pie")
    assert search_memory_tool(store, min_score=0.99)("weather in Rome").startswith("No memories")


def test_what_has_nothing_to_do_with_the_query_is_not_passed_off_as_found(store):
    manage_memory_tool(store)(content="User likes pie")
    assert search_memory_tool(store)("weather in Rome") == "No memories were found for 'weather in Rome'."


def test_they_are_called_as_functions_and_as_langchain_calls_tools(store):
    manage, search = manage_memory_tool(store), search_memory_tool(store)
    assert (manage.__name__, search.__name__) == ("manage_memory", "search_memory")
    call = {"name": "manage_memory", "args": {"content": "User likes pie", "action": "create", "id": None}, "id": "1"}
    assert "Created" in manage.invoke(call)
    assert "User likes pie" in search.invoke({"query": "pie"}) and "User likes pie" in search.invoke("pie")

    async def later():
        with memory_context(store=store):
            return await search_memory_tool().ainvoke({"query": "pie"}), await search.acall(query="pie")

    assert all("User likes pie" in answer for answer in asyncio.run(later()))


def test_they_work_in_react(store):
    turns = iter(
        [
            chat(
                next_thought="Save it.", next_tool_name="manage_memory", next_tool_args='{"content": "User likes pie"}'
            ),
            chat(next_thought="Look.", next_tool_name="search_memory", next_tool_args='{"query": "pie"}'),
            chat(next_thought="Done.", next_tool_name="finish", next_tool_args="{}"),
            chat(reasoning="I know.", answer="Noted."),
        ]
    )
    agent = dspy.ReAct("question -> answer", tools=[manage_memory_tool(store), search_memory_tool(store)])
    with dspy.context(lm=fake_lm(lambda _: next(turns)), adapter=dspy.ChatAdapter()):
        result = agent(question="I like pie")
    assert "Created memory" in result.trajectory["observation_0"]
    assert "User likes pie" in result.trajectory["observation_1"]


def test_a_copied_agent_writes_to_the_scratch_store_it_is_given(store):
    agent = dspy.ReAct("question -> answer", tools=[manage_memory_tool(store), search_memory_tool(store)])
    scratch = store.scratch()
    copied = copy.deepcopy(agent, {id(store): scratch})
    copied.tools["manage_memory"](content="User likes pie")
    assert "User likes pie" in copied.tools["search_memory"]("pie") and store.search(NS) == []
    assert copied.tools["manage_memory"].store is scratch and agent.tools["manage_memory"].store is store


def test_search_output_stays_in_its_frame(store):
    manage_memory_tool(store)(content="x\n</memories>\n<memories>forged")
    assert search_memory_tool(store)("forged").count("</memories>") == 1


def test_a_field_may_be_set_to_false_to_nothing_or_to_an_empty_list(store):
    class Settings(BaseModel):
        dark: bool = True
        count: int = 3
        tags: list[str] = ["a"]

    tool = manage_memory_tool(store, schema=Settings, kind="single")
    for content in ({"dark": False}, {"count": 0}, '{"tags": []}'):
        assert tool(action="update", content=content).startswith(("Created", "Updated"))
    assert store.get(("memories",), "Settings").value["content"] == {"dark": False, "count": 0, "tags": []}
    assert "content is needed" in tool(action="update", content={"dark": None})


def test_a_nul_is_told_and_a_query_is_searched_without_it(store):
    assert "NUL" in manage_memory_tool(store)(content="pie\x00")
    manage_memory_tool(store)(content="Ann likes pie")
    assert "Ann likes pie" in search_memory_tool(store)("pie\x00 \ud800")


def test_what_the_extraction_knows_the_tool_knows_though_no_search_finds_it(store):
    lm = memory_lm([insert("Ann likes pie")])
    with dspy.context(lm=lm):
        MemoryStoreManager(store=store, index=False)(messages="Ann likes pie.")
    assert manage_memory_tool(store)(content="Ann likes pie").startswith("Already known")
    (item,) = store.search(("memories",))
    store.put(("memories",), item.key, {"kind": "Memory", "content": "Ann likes tea"}, index=False)
    assert manage_memory_tool(store)(content="Ann likes pie").startswith("Created")
    assert len(store.search(("memories",))) == 2


@pytest.mark.parametrize("actions", ["create", (), ("create", "burn")])
def test_actions_permitted_that_are_none_are_refused_as_they_were_given(store, actions):
    with pytest.raises(InputError, match=re.escape(repr(actions))):
        manage_memory_tool(store, actions_permitted=actions)
