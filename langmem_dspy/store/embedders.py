"""Text to vectors: offline, local-model and hosted embedders behind one callable."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from langmem_dspy.errors import EmbedderMismatch, InputError, StoreError
from langmem_dspy.store.words import content_terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from langmem_dspy.store.minilm import MiniLM


@runtime_checkable
class Embedder(Protocol):
    """A callable from n texts to `(n, d) float32` of unit length, and what a store must know about it.

    `name` is the identity of its vectors: two embedders of one name are interchangeable. `floor` is the cosine of two
    unrelated texts; what lies above it counts as evidence in a hybrid search, `weight` for the whole way to 1 (a shared
    rare word is worth about 5).
    """

    name: str
    floor: float
    weight: float

    def __call__(self, texts: list[str], /) -> Any: ...


class OfflineEmbedder:
    """Hashed lexical vectors: words and their letter triples, hashed with a sign (Weinberger et al., 2009,
    arXiv:0902.2206). No model and no meaning: it finds shared words and spellings, nothing else."""

    name = "offline-hashed-lexical-384"
    floor = 0.1
    # BM25 sees the same words more precisely; this only adds what is spelled alike.
    weight = 2.0

    def __call__(self, texts: list[str], /) -> NDArray[np.float32]:
        return np.stack([self._embed(text) for text in texts])

    def _embed(self, text: str) -> NDArray[np.float32]:
        counts: dict[str, int] = {}
        for term in content_terms(text):
            counts[term] = counts.get(term, 0) + 1
        if not counts:
            return np.zeros(_WIDTH, np.float32)
        places, weights = zip(*(_features(term) for term in counts), strict=True)
        times = np.repeat([1 + np.log(count) for count in counts.values()], [len(p) for p in places])
        vector = np.bincount(np.concatenate(places), np.concatenate(weights) * times, _WIDTH).astype(np.float32)
        norm = np.linalg.norm(vector)
        return vector / norm if norm else vector

    def __repr__(self) -> str:
        return "OfflineEmbedder(shared words and spellings only; embedder='local' or a hosted model finds meaning)"


class LocalEmbedder:
    """all-MiniLM-L6-v2 on this machine, without torch; the extra `local`. Loaded at the first text."""

    name = "local-all-minilm-l6-v2"
    floor = 0.2
    weight = 8.0

    def __init__(self) -> None:
        self._model: MiniLM | None = None

    def __call__(self, texts: list[str], /) -> NDArray[np.float32]:
        if self._model is None:
            from langmem_dspy.store.minilm import MiniLM

            self._model = MiniLM()
        return self._model(texts)

    def __repr__(self) -> str:
        return "LocalEmbedder(all-MiniLM-L6-v2)"


class FunctionEmbedder:
    """Any function from texts to vectors, or a `dspy.Embedder`."""

    def __init__(self, function: Callable[..., Any], name: str, *, floor: float = 0.2, weight: float = 8.0):
        self.function, self.name, self.floor, self.weight = function, name, floor, weight

    def __call__(self, texts: list[str], /) -> Any:
        return self.function(texts)

    def __repr__(self) -> str:
        return f"FunctionEmbedder({self.name})"


class MissingEmbedder:
    """The embedder of a store that only its maker can name: all works that needs no vector of a text."""

    floor, weight = 0.2, 8.0

    def __init__(self, name: str):
        self.name = name

    def __call__(self, texts: list[str], /) -> Any:
        raise EmbedderMismatch(
            f"this store was made with the function {self.name!r}; pass it as embedder=... to search by meaning or to "
            'write (mode="lexical" works without)'
        )

    def __repr__(self) -> str:
        return f"MissingEmbedder({self.name})"


def stored_embedder(name: str | None) -> Embedder:
    """The embedder by the name that a store keeps of it; None is a new store's."""
    known = name is None or "/" in name or name in (OfflineEmbedder.name, LocalEmbedder.name)
    return as_embedder(name) if known or name is None else MissingEmbedder(name)


def as_embedder(embedder: Any = None) -> Embedder:
    """None or "offline", "local", a hosted model ("openai/text-embedding-3-small"), a function, or an `Embedder`."""
    if embedder is None or embedder in ("offline", OfflineEmbedder.name):
        return OfflineEmbedder()
    if isinstance(embedder, str):
        return LocalEmbedder() if embedder in ("local", LocalEmbedder.name) else _hosted(embedder)
    if isinstance(embedder, Embedder):
        return embedder
    if not callable(embedder):
        raise InputError(f"an embedder is a model string, a function from texts to vectors, or None, not {embedder!r}")
    import dspy

    if isinstance(embedder, dspy.Embedder):
        model = embedder.model
        name = model if isinstance(model, str) else _function_name(model)
        return FunctionEmbedder(lambda texts: embedder(texts, caching=False), name)
    return FunctionEmbedder(embedder, _function_name(embedder))


def embed(embedder: Embedder, texts: list[str]) -> NDArray[np.float32]:
    """`(n, d) float32` of unit length, or an error that says what the embedder did wrong."""
    vectors = np.asarray(embedder(texts), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not vectors.shape[1]:
        raise StoreError(f"{embedder!r} returned shape {vectors.shape} for {len(texts)} texts; expected (n, d)")
    if not np.isfinite(vectors).all():
        raise StoreError(f"{embedder!r} returned vectors that are not finite; nothing was stored")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)
    return unit


_WIDTH = 384
_TRIPLES = 0.6  # the share of a word's weight that its letter triples carry


@lru_cache(maxsize=4096)  # half a KB each
def _features(term: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    padded = f"<{term}>"
    triples = [f"#{padded[i : i + 3]}" for i in range(len(padded) - 2)]
    hashes = np.frombuffer(
        b"".join(blake2b(f.encode("utf-8", "replace"), digest_size=8).digest() for f in [term, *triples]), np.uint64
    )
    signs = np.where(hashes >> np.uint64(63), 1.0, -1.0)
    weights = np.full(len(hashes), _TRIPLES / max(1, len(triples)) ** 0.5)
    weights[0] = 1.0
    return (hashes % np.uint64(_WIDTH)).astype(np.int64), signs * weights


def _hosted(model: str) -> Embedder:
    if "/" not in model:
        raise InputError(f"{model!r} is no embedder; pass 'offline', 'local' or a hosted model as 'provider/model'")

    def call(texts: list[str]) -> Any:
        import dspy

        # DSPy caches by the source text of a callable; the store keeps its own cache, by content.
        return dspy.Embedder(model, caching=False)(texts)

    return FunctionEmbedder(call, model)


def _function_name(function: Any) -> str:
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
