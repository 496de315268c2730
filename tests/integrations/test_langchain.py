"""Our memory tools as LangChain's."""

import asyncio
import subprocess
import sys

import pytest

from langmem_dspy.errors import InputError, MissingExtraError, NamespaceError
from langmem_dspy.integrations.langchain import as_langchain
from langmem_dspy.memory_factories import create_manage_memory_tool, create_search_memory_tool
from langmem_dspy.namespaces import memory_context
from langmem_dspy.store.faiss_store import FaissStore

pytest.importorskip("langchain_core")


@pytest.fixture
def store():
    with FaissStore() as store:
        yield store


def contents(store, namespace=("memories",)):
    return [item.value["content"] for item in store.search(namespace)]


def call(tool, **arguments):
    return tool.invoke({**call_of(tool), "args": arguments})


def call_of(tool):
    return {"name": tool.name, "id": "c1", "type": "tool_call"}


def test_a_model_is_offered_the_same_name_description_and_arguments(store):
    from langchain_core.utils.function_calling import convert_to_openai_tool

    for tool in (create_manage_memory_tool(store), create_search_memory_tool(store)):
        ours, theirs = tool.format_as_litellm_function_call()["function"], convert_to_openai_tool(as_langchain(tool))
        assert theirs["function"] == ours


def test_it_is_called_with_arguments_or_with_a_tool_call_sync_and_async(store):
    manage, search = as_langchain(create_manage_memory_tool(store)), as_langchain(create_search_memory_tool(store))
    assert manage.invoke({"content": "User likes shoo-fly pie"}).startswith("Created memory ")
    answer = asyncio.run(manage.ainvoke({**call_of(manage), "args": {"content": "x"}}))
    assert answer.tool_call_id == "c1" and answer.content.startswith("Created") and answer.status == "success"
    assert sorted(contents(store)) == ["User likes shoo-fly pie", "x"]
    assert "shoo-fly" in search.invoke({"query": "pie"})
    assert "shoo-fly" in asyncio.run(search.ainvoke({"query": "pie"}))


def test_nulls_that_models_write_for_what_they_leave_out_are_no_errors(store):
    manage = as_langchain(create_manage_memory_tool(store))
    assert manage.invoke({"action": "create", "content": "x", "id": None}).startswith("Created memory ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"action": "destroy", "id": "1"}, "action: 'destroy' is not one of ['create', 'update', 'delete']"),
        ({"content": 3}, "content: 3 is not of type 'string'"),
        ({"contents": "x"}, "'contents' was unexpected"),
    ],
)
def test_arguments_that_do_not_fit_are_answered_with_what_is_wrong(store, arguments, problem):
    tool = as_langchain(create_manage_memory_tool(store))
    for answer in (call(tool, **arguments), asyncio.run(tool.ainvoke({**call_of(tool), "args": arguments}))):
        assert answer.status == "error" and "manage_memory was not called" in answer.content
        assert problem in answer.content
    assert contents(store) == []


def test_a_missing_argument_is_named(store):
    assert "'query' is a required property" in call(as_langchain(create_search_memory_tool(store))).content


def test_what_no_model_can_mend_is_raised(store):
    tool = as_langchain(create_manage_memory_tool(store, namespace=("memories", "{user_id}")))
    with pytest.raises(NamespaceError, match="user_id"):
        call(tool, content="x")
    with pytest.raises(NamespaceError, match="user_id"):
        asyncio.run(tool.ainvoke({"content": "x"}))


def test_the_user_comes_from_the_config_or_the_context_and_is_no_argument(store):
    tool = as_langchain(create_manage_memory_tool(store, namespace=("memories", "{user_id}")))
    config = {"configurable": {"user_id": "ann"}}
    tool.invoke({"content": "of ann"}, config)
    asyncio.run(tool.ainvoke({"content": "of ann too"}, config))
    with memory_context(user_id="bob"):
        tool.invoke({"content": "of bob"}, config)
    assert sorted(contents(store, ("memories", "ann"))) == ["of ann", "of ann too"]
    assert contents(store, ("memories", "bob")) == ["of bob"]
    assert "user_id" not in tool.args


@pytest.mark.parametrize("wrong", [print, "manage_memory", None])
def test_anything_but_a_memory_tool_is_refused(wrong):
    with pytest.raises(InputError, match="create_manage_memory_tool"):
        as_langchain(wrong)


def test_without_langchain_the_error_names_the_extra(monkeypatch):
    tool = create_search_memory_tool()
    monkeypatch.setitem(sys.modules, "langchain_core.tools", None)
    with pytest.raises(MissingExtraError, match=r"langmem-dspy\[langchain\]"):
        as_langchain(tool)


def test_importing_the_bridges_imports_neither_langchain_nor_langgraph():
    code = (
        "import sys, langmem_dspy.integrations.langchain, langmem_dspy.integrations.langgraph\n"
        "print(sorted({'langchain_core', 'langgraph'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert shown.stdout.strip() == "[]", shown.stderr
