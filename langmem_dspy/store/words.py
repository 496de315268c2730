"""Text to search terms: words without case, accents and endings; CJK text as pairs of characters."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from langmem_dspy.store.stemming import stem

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REMEMBERED = 262_144  # words
_WORD = re.compile(r"[^\W_]+")
# What of ASCII is no word becomes a space, capitals small letters.
_LOWER_WORDS = bytes(ord(chr(c).lower()) if c < 128 and chr(c).isalnum() else 32 for c in range(256))
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]+")


def terms(text: str) -> list[str]:
    """The terms of a text, in order, repeats included."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
        text = unicodedata.normalize("NFC", text)
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word.isascii():
            found.append(stem(word))
        elif _CJK.search(word):
            found.extend(_pairs(word))
        else:
            found.append(word)
    return found


def content_terms(text: str) -> list[str]:
    """The terms of a text without the function words of English, unless it has no others."""
    found = terms(text)
    return [term for term in found if term not in _FUNCTION_TERMS] or found


def pack_terms(text: str) -> bytes:
    """The distinct terms of a text with their counts (up to 255), as `unpack_terms` reads them."""
    if text.isascii():  # the same words as by `terms` in a third of the time: this is what a put costs most by
        found = list(map(_PACKED_WORDS.__getitem__, text.encode().translate(_LOWER_WORDS).split()))
    else:
        found = list(map(_packed, terms(text)))
    counts: dict[bytes, int] = dict.fromkeys(found, 1)
    if len(counts) < len(found):
        counts = Counter(found)
    try:
        return b"".join([*counts, bytes(counts.values())])
    except ValueError:
        return b"".join([*counts, bytes(min(count, 255) for count in counts.values())])


def unpack_terms(packed: bytes) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Ids and counts of the distinct terms of one text."""
    n = len(packed) // 9
    return np.frombuffer(packed, np.uint64, n), np.frombuffer(packed, np.uint8, n, 8 * n)


def unpack_all(packed: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Ids and counts of the terms of many texts, one after the other."""
    sizes = [len(p) // 9 for p in packed]
    ids = b"".join([p[: 8 * n] for p, n in zip(packed, sizes, strict=True)])
    counts = b"".join([p[8 * n :] for p, n in zip(packed, sizes, strict=True)])
    return np.frombuffer(ids, np.uint64), np.frombuffer(counts, np.uint8)


def term_id(term: str) -> int:
    """A 64-bit id of a term, the same in every process and version."""
    return int.from_bytes(_packed(term), "little")


def _packed(term: str) -> bytes:
    return blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class _PackedWords(dict[bytes, bytes]):
    """The packed terms of ASCII words; a third of what `lru_cache` takes to find one."""

    def __missing__(self, word: bytes) -> bytes:
        if len(self) >= _REMEMBERED:
            self.clear()
        packed = self[word] = _packed(stem(word.decode()))
        return packed


_PACKED_WORDS = _PackedWords()


def _pairs(word: str) -> list[str]:
    # Languages written without spaces: neighbouring characters stand in for words.
    found: list[str] = []
    start = 0
    for run in _CJK.finditer(word):
        if run.start() > start:
            found.append(word[start : run.start()])
        characters = run.group()
        found.extend(characters[i : i + 2] for i in range(max(1, len(characters) - 1)))
        start = run.end()
    if start < len(word):
        found.append(word[start:])
    return found


# Words that say how a question is asked rather than what it is about.
_FUNCTION_WORDS = """
a about after all also am an and any are as at be because been before being between both but by can could did do does
doing down during each few for from further had has have having he her here hers him his how i if in into is it its
itself just me more most my no nor not of off on once only or other our out over own s same she should so some such t
than that the their them then there these they this those through to too under until up very was we were what when
where which while who whom why will with would you your
"""
_FUNCTION_TERMS = frozenset(term for word in _FUNCTION_WORDS.split() for term in terms(word))
