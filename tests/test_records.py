"""Items and operations: LangGraph's shapes, short to look at."""

from datetime import UTC, datetime

import pytest

from langmem_dspy.records import GetOp, Item, ListNamespacesOp, MatchCondition, Provenance, PutOp, SearchItem, SearchOp

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


def item(kind=Item, **more):
    fields = {"namespace": ("m", "ann"), "key": "k", "value": {"content": "<b>pie</b>"}}
    return kind(**fields, created_at=NOW, updated_at=NOW, **more)


def test_an_item_as_a_dict_is_plain_json():
    full = item(version=3, provenance=Provenance("t", (1, 2), "x"), valid_from=NOW).dict()
    assert full["namespace"] == ["m", "ann"] and full["created_at"] == "2024-05-01T12:00:00+00:00"
    assert full["provenance"] == {"thread": "t", "messages": [1, 2], "extractor": "x"}
    assert full["valid_from"] == full["created_at"] and "valid_to" not in full and full["version"] == 3
    found = item(SearchItem, score=0.5, explanation={"dense": 0.4}).dict()
    assert found["score"] == 0.5 and found["explanation"] == {"dense": 0.4} and found["key"] == "k"


def test_items_are_equal_by_what_they_hold_and_can_be_in_sets():
    assert item() == item() and item() != item(version=2) and len({item(), item()}) == 1


def test_an_item_cannot_be_changed():
    with pytest.raises(AttributeError):
        item().key = "other"


def test_an_item_is_short_to_look_at():
    long = Item(namespace=("m",), key="k", value={"content": "x" * 10_000}, created_at=NOW, updated_at=NOW)
    assert len(repr(long)) < 200 and repr(item()) == "Item(m/ann k: {'content': '<b>pie</b>'})"
    assert repr(item(SearchItem, score=0.51234)).startswith("SearchItem(0.512 m/ann k")
    assert repr(item(SearchItem)).startswith("SearchItem(no score")


def test_in_a_notebook_an_item_is_a_table_and_its_text_is_no_markup():
    html = item(SearchItem, score=0.5)._repr_html_()
    assert html.startswith("<table>") and "&lt;b&gt;pie" in html and "<b>pie" not in html and "0.5" in html


def test_the_operations_begin_with_langgraphs_fields():
    assert GetOp._fields == ("namespace", "key", "refresh_ttl")
    assert PutOp._fields[:5] == ("namespace", "key", "value", "index", "ttl")
    assert SearchOp._fields[:6] == ("namespace_prefix", "filter", "limit", "offset", "query", "refresh_ttl")
    assert ListNamespacesOp._fields == ("match_conditions", "max_depth", "limit", "offset")
    assert MatchCondition._fields == ("match_type", "path")
