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
