"""How memories look: as a table of any kind of them, and what a module says it changed."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from langmem_dspy import FaissStore, memory_table
from langmem_dspy.errors import InputError
from langmem_dspy.memories.found import Found, Remembered
from langmem_dspy.memories.schemas import Delete, Dropped, ExtractedMemory, Insert, Memory, Update


class Pet(BaseModel):
    name: str
    age: int | None = None


def test_items_and_extracted_memories_are_rows_with_the_columns_they_have():
    with FaissStore() as store:
        store.put(("memories", "ann"), "k", {"kind": "Pet", "content": {"name": "Rex", "age": None}})
        frame = memory_table(store.search(("memories",), query="Rex")).to_frame()
    assert frame.loc[0, "content"] == "name: Rex" and frame.loc[0, "namespace"] == "memories/ann"
    bare = memory_table([ExtractedMemory("0123456789", Memory(content="likes <b>pie</b>"))])
    assert bare.columns == ["kind", "content", "key"]
    assert "likes &lt;b&gt;pie" in bare._repr_html_() and "01234567<" in bare._repr_html_()
    assert "likes <b>pie</b>" in repr(bare)


def test_all_that_a_record_holds_is_shown_and_its_schema_by_any_of_its_names():
    with FaissStore() as store:
        store.put(("memories", "ann"), "a", {"content": "tea", "source": "chat"})
        store.put(("memories", "bob"), "b", {"content": "tea", "schema_name": "Drink"})
        frame = memory_table(store.search(("memories",))).to_frame()
    assert list(frame["content"]) == ["content: tea, source: chat", "tea"]
    assert list(frame["kind"]) == ["", "Drink"]


def test_no_memories_are_said_to_be_none():
    assert "no memories" in memory_table([])._repr_html_() and repr(memory_table([])) == "no memories"


def test_what_is_no_memory_is_refused():
    with pytest.raises(InputError, match="extracted memories and store items; got dict"):
        memory_table([{"content": "x"}])


def test_a_prediction_shows_what_changed_word_by_word_and_what_was_not_done():
    before, after = Memory(content="The user lives in Lancaster"), Memory(content="The user lives in Berlin")
    operations = [Insert("a", Pet(name="Rex")), Update("b", after, before), Delete("c", Memory(content="<old>"))]
    page = Remembered(memories=[], operations=operations, dropped=[Dropped("delete", "no such <id>")])._repr_html_()
    assert "Lancaster</del>" in page and "Berlin</ins>" in page and page.count("The user lives in") == 1
    assert "&lt;old&gt;" in page and "1 not done" in page and "no such &lt;id&gt;" in page


def test_what_was_searched_for_stands_above_what_was_found():
    assert "tea" in Found(queries=["tea"], items=[])._repr_html_()


def test_a_store_shows_how_many_items_each_namespace_holds():
    with FaissStore() as store:
        store.put(("memories", "<ann>"), "k", {"content": "x"})
        page = store._repr_html_()
    assert "items: 1, namespaces: 1" in page and "memories/&lt;ann&gt;" in page
