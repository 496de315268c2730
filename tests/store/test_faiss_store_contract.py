"""FaissStore against the contract, in memory, in a folder, and as a scratch view of another."""

import pytest
from store_contract import StoreContract

from langmem_dspy.store import FaissStore


class TestInMemory(StoreContract):
    def make(self):
        return FaissStore()


class TestInAFolder(StoreContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.path = tmp_path

    def make(self):
        return FaissStore(self.path / "store")


class TestScratch(StoreContract):
    def make(self):
        below = FaissStore()
        below.put(("elsewhere", "carol"), "k", {"content": "not to be listed"})
        below.delete(("elsewhere", "carol"), "k")
        return below.scratch()
