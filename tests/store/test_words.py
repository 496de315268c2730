"""Text to terms: endings, accents, scripts."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given

from langmem_dspy.store.stemming import stem
from langmem_dspy.store.words import content_terms, pack_terms, term_id, terms, unpack_terms


# From the examples of Porter (1980).
@pytest.mark.parametrize(
    ("word", "expected"),
    [line.split() for line in """caresses caress;ponies poni;cats cat;feed feed;agreed agre;plastered plaster;bled bled
motoring motor;sing sing;conflated conflat;troubled troubl;sized size;hopping hop;tanned tan;falling fall;hissing hiss
fizzed fizz;failing fail;filing file;happy happi;sky sky;relational relat;conditional condit;rational ration
valenci valenc;digitizer digit;vietnamization vietnam;operator oper;feudalism feudal;decisiveness decis
triplicate triplic;formative form;electrical electr;hopeful hope;goodness good;revival reviv;allowance allow
inference infer;adjustable adjust;replacement replac;adoption adopt;activate activ;probate probat;rate rate;cease ceas
controll control;roll roll""".replace("\n", ";").split(";")],
)  # fmt: skip
def test_stem(word, expected):
    assert stem(word) == expected


def test_case_accents_and_endings_do_not_matter():
    assert terms("Liked CAFÉS") == terms("likes cafes") == ["like", "cafe"]


def test_text_without_spaces_is_cut_into_pairs():
    assert terms("日本語abc") == ["日本", "本語", "abc"] and terms("料") == ["料"]
    assert set(terms("日本")) <= set(terms("私は日本人です"))


def test_words_about_the_asking_do_not_count_unless_there_are_no_others():
    assert content_terms("What is the name of her dog?") == terms("name dog")
    assert content_terms("who is she") == terms("who is she")


def test_terms_are_packed_with_their_counts():
    ids, counts = unpack_terms(pack_terms("pie pie cake " + "tea " * 300))
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {
        term_id("pie"): 2, term_id("cake"): 1, term_id("tea"): 255,
    }  # fmt: skip
    assert len(unpack_terms(pack_terms("...!"))[0]) == 0


def test_a_terms_id_never_changes():
    assert term_id("pie") == 6434523357034497105


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_texts_are_packed_as_any_others_are(text):
    ids, counts = unpack_terms(pack_terms(text))
    expected = Counter(map(term_id, terms(text)))
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {t: min(n, 255) for t, n in expected.items()}
