"""Operations as they are asked for, checked and made ready: what is wrong is said before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import orjson

from langmem_dspy.errors import InputError
from langmem_dspy.namespaces import check_namespace
from langmem_dspy.records import Index, PutOp, SearchMode, SearchOp
from langmem_dspy.store.filters import parse
from langmem_dspy.store.items import Write
from langmem_dspy.store.rows import dump_provenance, to_micros, to_path
from langmem_dspy.store.scoring import Query
from langmem_dspy.store.search import Scope
from langmem_dspy.store.values import check_index, check_key, check_text, dump, texts
from langmem_dspy.store.vectors import Vectors
from langmem_dspy.store.words import content_terms, pack_terms, term_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MODES = get_args(SearchMode)
_options = attrgetter("index", "ttl", "provenance", "valid_from", "valid_to", "created_at", "updated_at")
_NO_OPTIONS = (None,) * 7


class Prepared(NamedTuple):
    """A write with the texts it is found by, and its vectors `(parts, d)` once they are known."""

    write: Write
    texts: list[str]
    vectors: NDArray[np.float32] | None


def prepare(ops: Sequence[PutOp], vectors: Vectors) -> list[Prepared]:
    """Check all `ops` and embed their texts, in one call."""
    paths: dict[Any, str] = {}
    prepared = [_prepare(op, vectors, paths) for op in ops]
    open_texts = [text for p in prepared if p.vectors is None for text in p.texts]
    if not open_texts:
        return prepared
    embedded, start = vectors.of_texts(open_texts), 0
    for i, p in enumerate(prepared):
        if p.vectors is None and p.texts:
            prepared[i] = p._replace(vectors=embedded[start : start + len(p.texts)])
            start += len(p.texts)
    return prepared


def scope_of(op: SearchOp, now: int) -> Scope:
    """Where and among what to search; raises `InputError` for what cannot be read."""
    if op.mode not in _MODES:
        raise InputError(f"mode is one of {', '.join(_MODES)}, not {op.mode!r}")
    for name in ("limit", "offset"):
        _check_count(name, getattr(op, name))
    if op.min_score is not None and (isinstance(op.min_score, bool) or not isinstance(op.min_score, int | float)):
        raise InputError(f"min_score is a number or None, not {op.min_score!r}")
    path = to_path(check_namespace(op.namespace_prefix, may_be_empty=True))
    as_of = to_micros(op.as_of, "as_of")
    return Scope(path, parse(op.filter), now if as_of is None else as_of, now)


def query_of(op: SearchOp, vectors: Vectors) -> Query | None:
    """What to look for; None where `op` only lists."""
    if op.query is not None and not isinstance(op.query, str):
        raise InputError(f"query is a string or None, not {op.query!r}")
    text = (op.query or "").strip()
    if not text and op.query_vector is None:
        return None
    check_text(text, "query")
    vector = None
    if op.query_vector is not None:
        vector = vectors.given(op.query_vector)
    elif op.mode != "lexical":
        vector = vectors.of_texts([text])[0]
    mode = op.mode if text else "dense"
    terms = [term_id(term) for term in dict.fromkeys(content_terms(text))] if mode != "dense" else []
    return Query(mode, terms, vector, vectors.embedder.floor, vectors.embedder.weight)


def _prepare(op: PutOp, vectors: Vectors, paths: dict[Any, str]) -> Prepared:
    try:
        path = paths[op.namespace]
    except (KeyError, TypeError):  # not seen in this batch, or not even hashable
        path = to_path(check_namespace(op.namespace))
        paths[tuple(op.namespace)] = path
    key = check_key(op.key)
    if op.if_version is not None:
        _check_count("if_version", op.if_version)
    if op.value is None:
        return Prepared(Write(path, key, None, if_version=op.if_version), [], None)
    text = dump(op.value)
    index = check_index(op.index)
    found = texts(op.value, index)
    write = Write(path, key, text, if_version=op.if_version, terms=pack_terms("\n".join(found)) if found else b"")
    if _options(op) != _NO_OPTIONS:
        write = _with_options(write, op, index)
    if op.vector is not None:
        return Prepared(write, [], vectors.given(op.vector)[None])
    return Prepared(write, found, None)


def _with_options(write: Write, op: PutOp, index: Index) -> Write:
    valid_from, valid_to = to_micros(op.valid_from, "valid_from"), to_micros(op.valid_to, "valid_to")
    if valid_from is not None and valid_to is not None and valid_to < valid_from:
        raise InputError(f"valid_to {op.valid_to} lies before valid_from {op.valid_from}")
    return write._replace(
        indexed=None if index is None else orjson.dumps(index).decode(),
        ttl=_checked_ttl(op.ttl),
        provenance=dump_provenance(op.provenance),
        valid_from=valid_from,
        valid_to=valid_to,
        created=to_micros(op.created_at, "created_at"),
        at=to_micros(op.updated_at, "updated_at"),
    )


def _checked_ttl(ttl: Any) -> float | None:
    if ttl is None:
        return None
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl < 1e10:
        raise InputError(f"ttl is a positive number of minutes or None, not {ttl!r}")
    return float(ttl)


def _check_count(name: str, value: Any) -> None:
    if type(value) is not int or value < 0:
        raise InputError(f"{name} is an integer from 0, not {value!r}")
