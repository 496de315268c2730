"""When two memories say the same: their words are the same, in the same order, once the empty ones are left out.

Deliberately strict. Order, numbers and negations count, since "Ann manages Bob" and "Bob manages Ann" share every word;
likeness of meaning is for the model to judge, which sees the known memories.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Tenses are none of them: who was a student is one no more.
_EMPTY = frozenset(("a", "an", "the", "is", "are", "am", "be", "that", "really", "very", "quite", "truly", "also"))
_SHORT = 300  # characters
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def fingerprint(document: Any) -> Any:
    """A value that is equal for documents that say the same."""
    if isinstance(document, Mapping):
        return tuple(
            (key, fingerprint(value)) for key, value in sorted(document.items()) if value not in (None, "", [], {})
        )
    if isinstance(document, list | tuple):
        return tuple(fingerprint(value) for value in document)
    return words(document) if isinstance(document, str) else document


def words(text: str) -> tuple[str, ...]:
    """The words of `text` that carry its meaning, without case, accents and the endings of number and person."""
    # Memories are short, and the same ones are met again and again; conversations are not.
    return _words_again(text) if len(text) <= _SHORT else _words(text)


def _words(text: str) -> tuple[str, ...]:
    plain = text.casefold()
    if not plain.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
        if _CJK.search(plain):
            return tuple(c for c in plain if c.isalnum())
    found = [_bare(word) for word in _WORD.findall(plain)]
    return tuple(word for word in found if word not in _EMPTY) or tuple(found) or (plain.strip(),)


_words_again = lru_cache(maxsize=4096)(_words)


def _bare(word: str) -> str:
    word = word.replace("’", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def shared_words(text: str, other: frozenset[str]) -> int:
    """How many distinct words of `text` occur in `other`."""
    return len(set(words(text)) & other)
