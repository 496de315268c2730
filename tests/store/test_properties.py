"""Any sequence of operations equals a dict, whatever happens to the index files and whoever else has the store open."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from langmem_dspy.store import FaissStore, quantized

NAMESPACES = st.sampled_from([("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("ü", "b")])
KEYS = st.sampled_from(["k1", "k2", "k3", "ключ"])
WORDS = st.lists(st.sampled_from(["pie", "cake", "tea", "oslo", "rome"]), max_size=4).map(" ".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
VALUES = st.fixed_dictionaries({"content": WORDS}, optional={"n": st.integers(0, 3), "more": JSON})


class StoreIsADict(RuleBasedStateMachine):
    @initialize(durable=st.booleans())
    def open(self, durable):
        self.folder = Path(tempfile.mkdtemp()) if durable else None
        self.store = FaissStore(self.folder)
        self.model = {}

    @rule(namespace=NAMESPACES, key=KEYS, value=VALUES)
    def put(self, namespace, key, value):
        self.store.put(namespace, key, value)
        self.model[namespace, key] = value

    @rule(namespace=NAMESPACES, key=KEYS)
    def delete(self, namespace, key):
        self.store.delete(namespace, key)
        self.model.pop((namespace, key), None)

    @rule(namespace=NAMESPACES, key=KEYS)
    def get(self, namespace, key):
        item = self.store.get(namespace, key)
        assert (item and item.value) == self.model.get((namespace, key))

    @rule(prefix=NAMESPACES | st.just(()), n=st.none() | st.integers(0, 3), query=st.none() | WORDS)
    def search(self, prefix, n, query):
        filter = None if n is None else {"n": n}
        expected = {p: v for p, v in self.model.items()
                    if p[0][: len(prefix)] == prefix and (n is None or v.get("n") == n)}  # fmt: skip
        for mode in ("hybrid", "lexical", "dense"):
            found = self.store.search(prefix, query=query, filter=filter, limit=100, mode=mode)
            assert {(i.namespace, i.key): i.value for i in found} == expected
            scores = [-2 if i.score is None else i.score for i in found]
            assert scores == sorted(scores, reverse=True)
            few = self.store.search(prefix, query=query, filter=filter, limit=2, mode=mode)
            assert [i.key for i in few] == [i.key for i in found[:2]]
        if query:
            hits = self.store.search(prefix, query=query, mode="lexical", min_score=1e-6, limit=100)
            words = set(query.split())
            wanted = {p for p, v in self.model.items() if p[0][: len(prefix)] == prefix
                      and words & set(v["content"].split())}  # fmt: skip
            assert {(i.namespace, i.key) for i in hits} == wanted

    @rule(key=KEYS, value=VALUES, namespace=NAMESPACES)
    def try_out_in_a_scratch_view(self, key, value, namespace):
        scratch = self.store.scratch()
        scratch.put(namespace, key, value)
        scratch.delete(("a",), "k1")
        expected = {**self.model, (namespace, key): value}
        expected.pop((("a",), "k1"), None)
        found = {(i.namespace, i.key): i.value for i in scratch.search((), query="pie", limit=100)}
        assert found == expected

    @rule(keep=st.booleans())
    def compact(self, keep):
        self.store.compact(keep_history=keep)

    @rule(damage=st.sampled_from(["none", "delete", "truncate"]))
    def reopen(self, damage):
        if self.folder is None:
            return
        self.store.wait()
        self.store.close()
        for file in (self.folder / "index").glob("*"):
            if damage == "delete":
                file.unlink()
            elif damage == "truncate":
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        self.store = FaissStore(self.folder)

    @rule()
    def write_through_another_connection(self):
        if self.folder is not None:
            with FaissStore(self.folder) as other:
                other.put(("a",), "k1", {"content": "tea from elsewhere"})
            self.model[("a",), "k1"] = {"content": "tea from elsewhere"}

    @invariant()
    def namespaces_are_those_with_items(self):
        if hasattr(self, "store"):
            assert self.store.list_namespaces() == sorted({namespace for namespace, _ in self.model})

    def teardown(self):
        if hasattr(self, "store"):
            self.store.wait()
            assert self.store.check() == []
            self.store.close()
            if self.folder is not None:
                shutil.rmtree(self.folder)


class QuantizedStoreIsADict(StoreIsADict):
    """The same with shards that count as large from the third slot on."""

    @initialize()
    def make_shards_large(self):
        self.limit, quantized.EXACT_UP_TO = quantized.EXACT_UP_TO, 3

    def teardown(self):
        super().teardown()
        if hasattr(self, "limit"):
            quantized.EXACT_UP_TO = self.limit


SETTINGS = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestStoreIsADict = StoreIsADict.TestCase
TestStoreIsADict.settings = SETTINGS
TestQuantizedStoreIsADict = QuantizedStoreIsADict.TestCase
TestQuantizedStoreIsADict.settings = SETTINGS
