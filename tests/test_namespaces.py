"""Templates and variables to namespaces, and the context that store and variables come from."""

import asyncio
import contextvars
import sys
import threading
import types
import uuid

import dspy
import pytest

import langmem_dspy.namespaces as namespaces
from langmem_dspy.errors import NamespaceError
from langmem_dspy.namespaces import (
    check_namespace,
    current_store,
    current_variables,
    memory_context,
    resolve_namespace,
    template_variables,
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (("memories", "{user_id}"), ("memories", "ann")),
        (("memories", "user-{user_id}"), ("memories", "user-ann")),
        (("memories", "{team}-{user_id}"), ("memories", "7-ann")),
        (("memories",), ("memories",)),
        ("memories", ("memories",)),
        (["a", "{{b}}"], ("a", "{b}")),
    ],
)
def test_a_template_is_filled(template, expected):
    assert resolve_namespace(template, {"user_id": "ann", "team": 7, "unused": None}) == expected


def test_a_uuid_is_a_value():
    user = uuid.uuid4()
    assert resolve_namespace(("{u}",), {"u": user}) == (str(user),)


def test_a_missing_variable_is_named():
    with pytest.raises(NamespaceError, match=r"'user_id'.*given: \['team'\]"):
        resolve_namespace(("memories", "{user_id}"), {"team": "x"})


@pytest.mark.parametrize(
    "value",
    ["", "  ", "a.b", "a/b", "../b", "*", "{x}", "a\x1fb", "a\nb", "\x00", "\ud800", None, True, 1.5,
     ("a", "b"), []],
)  # fmt: skip
def test_a_value_that_could_lead_elsewhere_is_refused(value):
    for template in (("memories", "{user_id}"), ("memories", "user-{user_id}")):
        with pytest.raises(NamespaceError):
            resolve_namespace(template, {"user_id": value})


@pytest.mark.parametrize(
    "template", [(), ("a", ""), ("{a.b}",), ("{a[0]}",), ("{}",), ("{0}",), ("a{",), ("a", 3), None]
)
def test_a_template_no_one_can_fill_is_refused(template):
    with pytest.raises(NamespaceError):
        resolve_namespace(template, {"a": "x"})


def test_the_variables_of_a_template_are_known():
    assert template_variables(("m", "{a}-{b}", "{{c}}")) == {"a", "b"}


def test_a_namespace_may_be_empty_only_where_everything_is_meant():
    assert check_namespace((), may_be_empty=True) == ()
    with pytest.raises(NamespaceError):
        check_namespace(())


def test_an_inner_context_adds_to_an_outer_one():
    store = object()
    with memory_context(store=store, user_id="ann", team="x"):
        with memory_context(user_id="bob"):
            assert current_store() is store and current_variables() == {"user_id": "bob", "team": "x"}
        assert resolve_namespace(("{user_id}",)) == ("ann",)
        assert resolve_namespace(("{user_id}",), {"user_id": "given"}) == ("given",)
    assert current_variables() == {}


def test_an_argument_goes_before_the_context():
    with memory_context(store="context"):
        assert current_store("argument") == "argument" and current_store() == "context"


def test_the_context_reaches_dspys_threads_asyncio_and_copied_contexts():
    seen = []

    class Look(dspy.Module):
        def forward(self, x):
            seen.append((current_store(), current_variables()["user_id"]))
            return x

    with memory_context(store="s", user_id="ann"):
        dspy.Parallel(num_threads=2, disable_progress_bar=True)([(Look(), {"x": i}) for i in range(4)])
        asyncio.run(asyncio.to_thread(Look(), x=1))
        asyncio.run(dspy.asyncify(Look())(x=1))
        thread = threading.Thread(target=contextvars.copy_context().run, args=(Look(), 1))
        thread.start()
        thread.join()
    assert seen == [("s", "ann")] * 7


def test_two_tasks_do_not_see_each_others_context():
    async def one(name):
        with memory_context(user_id=name):
            await asyncio.sleep(0)
            return resolve_namespace(("{user_id}",))

    async def both():
        return await asyncio.gather(one("ann"), one("bob"))

    assert asyncio.run(both()) == [("ann",), ("bob",)]


def test_the_context_leaves_dspys_settings_alone():
    lm = dspy.utils.DummyLM([])
    with memory_context(user_id="ann"):
        dspy.configure(lm=lm)
        assert dspy.settings.lm is lm
    dspy.configure(lm=None)


def test_without_any_store_one_of_the_process_is_made_once_with_a_warning(monkeypatch):
    monkeypatch.setattr(namespaces, "_process_store", None)
    made = []

    def make():
        made.append(object())
        return made[-1]

    with pytest.warns(UserWarning, match="in-memory store"):
        first = current_store(default=make)
    assert current_store(default=make) is first and len(made) == 1
    with pytest.raises(NamespaceError, match="no store"):
        current_store()


def test_langgraphs_context_is_used_inside_of_it(monkeypatch):
    fake = types.ModuleType("langgraph.config")
    fake.get_store = lambda: "theirs"
    monkeypatch.setitem(sys.modules, "langgraph.config", fake)
    monkeypatch.setattr(namespaces, "adapted", lambda store: f"adapted {store}")
    configured(monkeypatch, {"configurable": {"user_id": "ann", "checkpoint.id": 1}})
    assert current_store() == "adapted theirs"
    assert resolve_namespace(("m", "{user_id}")) == ("m", "ann")
    with memory_context(store="ours", user_id="bob"):
        assert current_store() == "adapted ours" and resolve_namespace(("{user_id}",)) == ("bob",)


def test_a_store_is_adapted_wherever_it_is_given(monkeypatch):
    monkeypatch.setattr(namespaces, "adapted", str.upper)
    assert current_store("theirs") == "THEIRS"
    with memory_context(store="theirs"):
        assert current_store() == "THEIRS"


def test_outside_of_a_graph_langgraph_is_passed_over(monkeypatch):
    def outside():
        raise RuntimeError("Called get_config outside of a runnable context")

    fake = types.ModuleType("langgraph.config")
    fake.get_store = outside
    monkeypatch.setitem(sys.modules, "langgraph.config", fake)
    configured(monkeypatch, None)
    monkeypatch.setattr(namespaces, "_process_store", "of the process")
    assert current_store(default=object) == "of the process" and current_variables() == {}


def configured(monkeypatch, config):
    fake = types.ModuleType("langchain_core.runnables.config")
    fake.var_child_runnable_config = contextvars.ContextVar("config", default=config)
    monkeypatch.setitem(sys.modules, "langchain_core.runnables.config", fake)
