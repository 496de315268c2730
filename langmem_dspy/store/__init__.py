"""Where memories live."""

from langmem_dspy.store.embedders import (
    Embedder,
    FunctionEmbedder,
    LocalEmbedder,
    OfflineEmbedder,
    as_embedder,
)
from langmem_dspy.store.faiss_store import FaissStore
from langmem_dspy.store.search import Ranking, Reranker
from langmem_dspy.store.verbs import BatchStore

__all__ = [
    "BatchStore",
    "Embedder",
    "FaissStore",
    "FunctionEmbedder",
    "LocalEmbedder",
    "OfflineEmbedder",
    "Ranking",
    "Reranker",
    "as_embedder",
]
