"""Postings: what terms weigh is the same by every way that it is looked up."""

import numpy as np
import pytest

from langmem_dspy.store import lexical
from langmem_dspy.store.lexical import Postings
from langmem_dspy.store.words import pack_terms, term_id

WORDS = [f"w{chr(97 + i)}" for i in range(20)]
TERMS = [term_id(word) for word in WORDS[:8]]


def said(n, rng):
    # The first words stand in most texts, the last in few; some texts hold a word many times.
    return [pack_terms(" ".join(WORDS[i] for i in np.minimum(rng.zipf(1.4, 12), 20) - 1)) for _ in range(n)]


@pytest.mark.parametrize("many", [10, 10**9], ids=["wide", "sought"])
def test_some_texts_score_as_all_do_before_and_after_others_are_added(monkeypatch, many):
    monkeypatch.setattr(lexical, "_MANY", many)
    rng = np.random.default_rng(0)
    postings = Postings(said(400, rng))
    for text in ["", *said(60, rng)]:
        total = postings.statistics(TERMS, None)
        every = postings.scores(TERMS, total)
        some = np.sort(rng.choice(len(every), 50, replace=False))
        assert np.array_equal(postings.scores_of(some, TERMS, total), every[some])
        mask = rng.random(len(every)) < 0.7
        slots, scores = postings.contenders(10, TERMS, total, mask)
        best = np.flatnonzero(mask)[np.argsort(-every[mask], kind="stable")][:10]
        assert set(best[every[best] > 0]) <= set(slots) and mask[slots].all()
        assert np.allclose(scores, every[slots], atol=1e-4)
        postings.append(text or b"")
    forked = postings.fork()
    forked.append(said(1, rng)[0])
    assert len(forked.scores(TERMS, total)) == len(postings.scores(TERMS, total)) + 1
    assert len(forked.scores_of(np.array([461]), TERMS, total)) == 1
