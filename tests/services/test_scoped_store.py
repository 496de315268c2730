"""One tenant's view of a store shows nothing of another's."""

from __future__ import annotations

import pytest

from langmem_dspy import FaissStore
from langmem_dspy.errors import InputError, NamespaceError
from langmem_dspy.records import GetOp, SearchOp
from langmem_dspy.services.auth import ScopedStore, Tenant


@pytest.fixture
def shared():
    with FaissStore() as store:
        yield store


@pytest.fixture
def ann(shared):
    return ScopedStore(shared, ("tenants", "ann"))


@pytest.fixture
def bob(shared):
    return ScopedStore(shared, ("tenants", "bob"))


def test_what_one_tenant_writes_the_other_does_not_find(ann, bob):
    ann.put(("memories",), "1", {"content": "Ann likes pie"})
    assert bob.get(("memories",), "1") is None
    assert bob.search((), query="pie") == []
    assert bob.list_namespaces() == []


def test_a_tenant_sees_namespaces_without_the_root(ann):
    ann.put(("memories", "a"), "1", {"content": "Ann likes pie"})
    assert ann.get(("memories", "a"), "1").namespace == ("memories", "a")
    assert [item.namespace for item in ann.search((), query="pie")] == [("memories", "a")]
    assert ann.list_namespaces(max_depth=1) == [("memories",)]


def test_a_suffix_does_not_match_labels_of_the_root(ann):
    ann.put(("memories",), "1", {"content": "x"})
    assert ann.list_namespaces(suffix=("ann", "memories")) == []
    assert ann.list_namespaces(suffix=("*", "memories")) == []
    assert ann.list_namespaces(suffix=("memories",)) == [("memories",)]
    assert ann.list_namespaces(prefix=("*",)) == [("memories",)]


def test_a_deletion_reaches_only_the_own_item(ann, bob):
    for tenant in (ann, bob):
        tenant.put(("memories",), "1", {"content": "x"})
    ann.delete(("memories",), "1")
    assert ann.get(("memories",), "1") is None
    assert bob.get(("memories",), "1") is not None


def test_the_empty_namespace_is_not_written_through_to_the_root(ann, shared):
    with pytest.raises(NamespaceError):
        ann.put((), "1", {"content": "x"})
    shared.put(("tenants", "ann"), "1", {"content": "put at the root by someone else"})
    assert ann.list_namespaces() == []


def test_a_batch_mixes_operations(ann):
    ann.put(("memories",), "1", {"content": "pie"})
    got, found = ann.batch([GetOp(("memories",), "1"), SearchOp((), query="pie")])
    assert got.key == found[0].key == "1"


async def _awaited(store):
    await store.aput(("memories",), "1", {"content": "pie"})
    return [await store.aget(("memories",), "1"), *await store.asearch(())]


def test_the_async_verbs_are_scoped_too(ann, shared):
    import asyncio

    assert [item.namespace for item in asyncio.run(_awaited(ann))] == [("memories",)] * 2
    assert shared.list_namespaces() == [("tenants", "ann", "memories")]


@pytest.mark.parametrize("root", [("*",), ("a.b",), ("",), ("a/b",)])
def test_a_root_that_could_be_read_as_another_is_refused(root):
    with pytest.raises((InputError, NamespaceError)):
        Tenant("x", root)
