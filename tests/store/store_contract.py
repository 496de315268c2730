"""What every store does. A store is tested by a subclass that makes one:

class TestMyStore(StoreContract):
    def make(self): return MyStore()
"""

from __future__ import annotations

import asyncio
import copy
import math
import threading
from datetime import UTC, datetime, timedelta

import pytest

from langmem_dspy.errors import ConflictError, InputError, NamespaceError
from langmem_dspy.records import GetOp, Item, ListNamespacesOp, PutOp, SearchItem, SearchOp

ANN, BOB = ("memories", "ann"), ("memories", "bob")
DEEP = {"content": "x"}
for _ in range(300):
    DEEP = {"content": DEEP}


class StoreContract:
    """Subclass it and say how a store is made."""

    def make(self):
        raise NotImplementedError

    @pytest.fixture
    def store(self):
        store = self.make()
        yield store
        store.close()

    def test_what_was_put_is_got(self, store):
        before = datetime.now(UTC)
        store.put(ANN, "pie", {"content": "likes shoo-fly pie", "n": 1, "tags": ["a", None, True, 1.5]})
        item = store.get(ANN, "pie")
        assert isinstance(item, Item)
        assert (item.namespace, item.key, item.version) == (ANN, "pie", 1)
        assert item.value == {"content": "likes shoo-fly pie", "n": 1, "tags": ["a", None, True, 1.5]}
        assert before - timedelta(seconds=1) < item.created_at == item.updated_at and item.created_at.tzinfo

    def test_what_is_not_there_is_none(self, store):
        assert store.get(ANN, "pie") is None
        store.put(ANN, "pie", {"content": "x"})
        assert store.get(BOB, "pie") is None and store.get(("memories",), "pie") is None

    def test_an_update_keeps_the_creation_time_and_counts_versions(self, store):
        store.put(ANN, "pie", {"content": "one"})
        first = store.get(ANN, "pie")
        store.put(ANN, "pie", {"content": "two"})
        second = store.get(ANN, "pie")
        assert second.value == {"content": "two"} and second.version == 2
        assert second.created_at == first.created_at and second.updated_at >= first.updated_at

    def test_a_deleted_item_is_not_found(self, store):
        store.put(ANN, "pie", {"content": "pie"})
        store.delete(ANN, "pie")
        store.delete(ANN, "never was")
        assert store.get(ANN, "pie") is None and store.search(ANN, query="pie") == []
        store.put(ANN, "pie", {"content": "pie again"})
        assert [i.value["content"] for i in store.search(ANN, query="pie")] == ["pie again"]

    def test_a_returned_value_is_the_callers_own(self, store):
        value = {"content": "pie", "tags": ["a"]}
        store.put(ANN, "k", value)
        value["tags"].append("b")
        store.get(ANN, "k").value["tags"].append("c")
        store.search(ANN, query="pie")[0].value["tags"].append("d")
        assert store.get(ANN, "k").value["tags"] == ["a"]

    @pytest.mark.parametrize("mode", ["hybrid", "lexical", "dense"])
    def test_a_search_finds_by_words_in_every_mode(self, store, mode):
        store.put(ANN, "a", {"content": "Ann loves shoo-fly pie"})
        store.put(ANN, "b", {"content": "the meeting was moved to Tuesday"})
        found = store.search(ANN, query="which pie does she love?", mode=mode)
        assert [i.key for i in found] == ["a", "b"] and isinstance(found[0], SearchItem)
        assert found[0].score > (found[1].score or 0)

    def test_a_namespace_sees_itself_and_what_lies_below_only(self, store):
        for namespace in [("memories",), ANN, (*ANN, "work"), BOB, ("memories2", "ann"), ("other",)]:
            store.put(namespace, "k", {"content": "pie"})
        below = {i.namespace for i in store.search(ANN, query="pie")}
        assert below == {ANN, (*ANN, "work")}
        assert len(store.search(("memories",), query="pie")) == 4
        assert len(store.search((), query="pie")) == 6
        assert store.search(("memories", "an"), query="pie") == []

    def test_another_namespaces_writes_change_no_score(self, store):
        store.put(ANN, "a", {"content": "pie with cream"})
        store.put(ANN, "b", {"content": "soup"})
        before = [(i.key, i.score) for i in store.search(ANN, query="pie cream soup")]
        for i in range(30):
            store.put(BOB, str(i), {"content": f"pie cream soup {i}"})
        assert [(i.key, i.score) for i in store.search(ANN, query="pie cream soup")] == before

    def test_items_without_a_match_fill_up_unless_a_minimum_score_cuts_them(self, store):
        for i in range(6):
            store.put(ANN, f"k{i}", {"content": "pie" if i == 3 else "soup"})
        store.put(ANN, "unindexed", {"content": "pie"}, index=False)
        found = store.search(ANN, query="pie", mode="lexical", limit=20)
        assert [i.key for i in found] == ["k3", "k0", "k1", "k2", "k4", "k5", "unindexed"]
        assert found[-1].score is None and found[1].score == 0.0
        assert [i.key for i in store.search(ANN, query="pie", min_score=0.01)] == ["k3"]

    def test_ties_are_ordered_by_key(self, store):
        keys = [f"k{i:03}" for i in range(60)]
        for key in sorted(keys, key=hash):
            store.put(ANN, key, {"content": "the very same words"})
        for mode in ("hybrid", "lexical", "dense"):
            assert [i.key for i in store.search(ANN, query="same words", limit=7, mode=mode)] == keys[:7]
            page = store.search(ANN, query="same words", limit=7, offset=7, mode=mode)
            assert [i.key for i in page] == keys[7:14]
        assert [i.key for i in store.search(ANN, limit=5)] == keys[:5]

    def test_pages_cover_everything_once(self, store):
        for i in range(23):
            store.put(ANN, f"k{i}", {"content": f"pie {'cream ' * (i % 4)}"})
        for query in (None, "cream"):
            pages = [store.search(ANN, query=query, limit=5, offset=o) for o in range(0, 30, 5)]
            keys = [item.key for page in pages for item in page]
            assert len(keys) == 23 == len(set(keys))
            assert keys == [item.key for item in store.search(ANN, query=query, limit=50)]

    def test_filters_apply_before_the_cut(self, store):
        for i in range(100):
            store.put(ANN, f"k{i:02}", {"content": "pie", "n": i, "even": i % 2 == 0})
        found = store.search(ANN, query="pie", filter={"even": True, "n": {"$gte": 90}}, limit=5)
        assert [i.value["n"] for i in found] == [90, 92, 94, 96, 98]

    FILTERS = [
        ({"a": 1}, "1"), ({"a": {"$eq": "x"}}, "2"), ({"a": {"$ne": 1}}, "2345"), ({"n": {"$gt": 2}}, "3"),
        ({"n": {"$gte": 2}}, "23"), ({"n": {"$lt": 2}}, "1"), ({"n": {"$lte": 2}}, "12"),
        ({"n": {"$gt": 1, "$lt": 3}}, "2"),
        ({"a": {"$in": [1, "x"]}}, "12"), ({"n": {"$exists": False}}, "45"), ({"n": {"$exists": True}}, "123"),
        ({"$or": [{"a": 1}, {"n": 3}]}, "13"), ({"$and": [{"n": {"$gt": 1}}, {"n": {"$lt": 3}}]}, "2"),
        ({"$not": {"n": {"$gt": 1}}}, "145"), ({"n": {"$not": {"$gt": 1}}}, "145"), ({"deep": {"x": {"y": 5}}}, "4"),
        ({"deep.x.y": {"$gte": 5}}, "4"), ({"a": True}, "5"), ({"tags": ["p", "q"]}, "3"), ({"n": 2.0}, "2"),
        ({"a": None}, "34"), ({}, "12345"), ({"when": {"$lt": "2024-06"}}, "1"),
    ]  # fmt: skip

    @pytest.mark.parametrize(("filter", "expected"), FILTERS)
    def test_filter(self, store, filter, expected):
        store.put(ANN, "1", {"a": 1, "n": 1, "when": "2024-05-01"})
        store.put(ANN, "2", {"a": "x", "n": 2, "when": "2024-07-01"})
        store.put(ANN, "3", {"a": None, "n": 3, "tags": ["p", "q"]})
        store.put(ANN, "4", {"deep": {"x": {"y": 5}}})
        store.put(ANN, "5", {"a": True, "n.": 0})
        assert "".join(i.key for i in store.search(ANN, filter=filter)) == expected
        store.put(ANN, "6", {"a": 7})  # columns that are there already follow later writes
        store.delete(ANN, "1")
        found = "".join(i.key for i in store.search(ANN, filter=filter))
        assert found.replace("6", "") == expected.replace("1", "")

    @pytest.mark.parametrize("filter", [{"a": {"$regex": "x"}}, {"$or": []}, {"a": {"$in": 3}}, [1], {"$gt": 3}])
    def test_a_filter_no_one_can_read_is_refused(self, store, filter):
        with pytest.raises(InputError):
            store.search(ANN, filter=filter)

    @pytest.mark.parametrize(
        ("value", "named"),
        [
            ({"a": "\ud800"}, "value.a"), ({"a": math.nan}, "value.a"), ({"a": [1, math.inf]}, "value.a[1]"),
            ({"a": {"b": 2**64}}, "value.a.b"), ({"a": "x\x00y"}, "value.a"), (DEEP, "nested"), ({1: "a"}, "key 1"),
            ({"a": {1, 2}}, "value.a"), ({"a\x00": 1}, "key of value"), ("text", "mapping"), ({"a": b"x"}, "value.a"),
        ],
    )  # fmt: skip
    def test_poison_is_refused_by_name_and_nothing_is_written(self, store, value, named):
        with pytest.raises(InputError, match=r"(?s).*" + named.replace("[", r"\[").replace(".", r"\.")):
            store.batch([PutOp(ANN, "good", {"content": "x"}), PutOp(ANN, "bad", value)])
        assert store.search(ANN) == []

    @pytest.mark.parametrize("namespace", [(), ("a", ""), "memories", ("a", 1), ("a\x1fb",), ("\ud800",), None])
    def test_a_bad_namespace_is_refused(self, store, namespace):
        with pytest.raises(NamespaceError):
            store.put(namespace, "k", {"content": "x"})

    @pytest.mark.parametrize("key", ["", None, 3, "a\x00b", "\udfff"])
    def test_a_bad_key_is_refused(self, store, key):
        with pytest.raises(InputError):
            store.put(ANN, key, {"content": "x"})

    def test_a_batch_reads_what_was_there_before_and_writes_in_order(self, store):
        store.put(ANN, "a", {"content": "old"})
        results = store.batch(
            [
                GetOp(ANN, "a"),
                PutOp(ANN, "a", {"content": "new"}),
                PutOp(ANN, "a", {"content": "newest"}),
                PutOp(ANN, "b", {"content": "b"}),
                PutOp(ANN, "b", None),
                SearchOp(("memories",), query="old"),
                ListNamespacesOp(),
                GetOp(ANN, "missing"),
            ]
        )
        assert results[0].value == {"content": "old"} and [i.value["content"] for i in results[5]] == ["old"]
        assert results[1:5] == [None] * 4 and results[6] == [ANN] and results[7] is None
        assert store.get(ANN, "a").value == {"content": "newest"} and store.get(ANN, "b") is None

    def test_namespaces_are_listed_by_prefix_suffix_and_depth(self, store):
        for namespace in [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "c", "f"), ("z",)]:
            store.put(namespace, "k", {"content": "x"})
        assert store.list_namespaces(prefix=("a", "b"), max_depth=3) == [("a", "b", "c"), ("a", "b", "d")]
        assert store.list_namespaces(suffix=("f",)) == [("a", "c", "f")]
        assert store.list_namespaces(prefix=("a", "*", "d")) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
        assert store.list_namespaces(limit=2, offset=1) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
        store.delete(("z",), "k")
        assert ("z",) not in store.list_namespaces()

    def test_an_optimistic_write_loses_to_a_newer_version(self, store):
        store.put(ANN, "k", {"content": "one"}, if_version=0)
        store.put(ANN, "k", {"content": "two"}, if_version=1)
        with pytest.raises(ConflictError, match="version 2, not 1"):
            store.put(ANN, "k", {"content": "three"}, if_version=1)
        with pytest.raises(ConflictError):
            store.batch([PutOp(ANN, "other", {"content": "x"}), PutOp(ANN, "k", {"content": "y"}, if_version=0)])
        assert store.get(ANN, "k").value == {"content": "two"} and store.get(ANN, "other") is None

    def test_paths_choose_what_is_searched(self, store):
        value = {"title": "pie", "parts": [{"text": "cream"}, {"text": "sugar"}], "note": "salt"}
        store.put(ANN, "k", value, index=["title", "parts[*].text"])
        for query in ("pie", "cream", "sugar"):
            assert store.search(ANN, query=query, min_score=0.05)[0].key == "k", query
            assert store.search(ANN, query=query, mode="dense")[0].score > 0.9, query
        assert store.search(ANN, query="salt", mode="lexical", min_score=0.01) == []
        assert store.search(ANN, query="salt", mode="dense")[0].score < 0.6

    def test_without_content_all_text_fields_are_searched(self, store):
        store.put(ANN, "k", {"title": "pie", "more": {"deep": ["cream"]}, "n": 3})
        assert all(store.search(ANN, query=q, min_score=0.1) for q in ("pie", "cream"))

    def test_any_language_is_searched(self, store):
        texts = {"ja": "日本語の料理が好きです", "de": "Grüße aus München", "ru": "люблю пирог", "ar": "أحب الفطيرة"}
        for key, text in texts.items():
            store.put(ANN, key, {"content": text})
        for key, query in {"ja": "日本の料理", "de": "munchen", "ru": "ПИРОГ", "ar": "الفطيرة"}.items():
            assert [i.key for i in store.search(ANN, query=query, min_score=0.01)] == [key]

    def test_the_async_verbs_do_the_same(self, store):
        async def run():
            await store.aput(ANN, "k", {"content": "pie"})
            await asyncio.gather(*(store.aput(ANN, f"k{i}", {"content": f"soup {i}"}) for i in range(8)))
            found = await store.asearch(ANN, query="pie", limit=1)
            got = await store.aget(ANN, "k")
            await store.adelete(ANN, "k")
            return found, got, await store.aget(ANN, "k"), await store.alist_namespaces(), await store.abatch([])

        found, got, gone, namespaces, nothing = asyncio.run(run())
        assert found[0].key == got.key == "k" and gone is None and namespaces == [ANN] and nothing == []
        assert len(store.search(ANN, limit=20)) == 8

    def test_threads_write_and_search_at_once(self, store):
        errors = []

        def work(name):
            try:
                for i in range(20):
                    store.put(("t", name), str(i), {"content": f"pie {name} {i}", "i": i})
                    assert store.get(("t", name), str(i)).value["i"] == i
                    assert len(store.search(("t", name), query="pie", limit=50)) == i + 1
                    if i % 5 == 4:
                        store.put(("t", name), str(i), {"content": "changed"})
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=work, args=(f"n{i}",)) for i in range(6)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert errors == [] and len(store.search(("t",), limit=500)) == 120

    def test_a_copy_of_a_store_is_the_store(self, store):
        assert copy.deepcopy(store) is store and copy.deepcopy({"program": [store]})["program"][0] is store

    @pytest.mark.parametrize(
        "options",
        [{"mode": "fuzzy"}, {"limit": -1}, {"offset": -1}, {"limit": "3"}, {"query": 3}, {"min_score": "x"},
         {"as_of": "2024"}, {"as_of": datetime(2024, 1, 1)}],
    )  # fmt: skip
    def test_a_search_no_one_can_read_is_refused(self, store, options):
        with pytest.raises(InputError):
            store.search(ANN, **options)

    def test_a_limit_of_zero_is_nothing(self, store):
        store.put(ANN, "k", {"content": "pie"})
        assert store.search(ANN, query="pie", limit=0) == [] == store.search(ANN, limit=0)
