"""A memory for answers: what was asked before is not asked again, also not by two threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Memo(Generic[T]):
    """Answers by question. Thread-safe; a question that failed may be asked again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, Future[T]] = {}

    def get(self, question: str, ask: Callable[[], T]) -> tuple[T, bool]:
        """The answer, and whether it was known (or just being fetched by another thread)."""
        with self._lock:
            known = self._answers.get(question)
            answer = known or self._answers.setdefault(question, Future())
        if known is not None:
            return known.result(), True
        try:
            answer.set_result(ask())
        except BaseException as error:
            with self._lock:
                del self._answers[question]
            answer.set_exception(error)
            raise
        return answer.result(), False
