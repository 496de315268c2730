"""A function over a model, callable in LangMem's four ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import dspy

from langmem_dspy.awaiting import awaited
from langmem_dspy.errors import InputError
from langmem_dspy.metered_lm import MeteredLM
from langmem_dspy.replies import as_lm
from langmem_dspy.usage import Meter, UsageReport

R = TypeVar("R")


class ModelFunction(Generic[R]):
    """A model that is looked up when called, so that `dspy.configure` may come later; and LangMem's four ways to call.

    `last_usage` holds what the latest call that ended has spent.
    """

    _inputs: tuple[str, ...] = ()
    _optional: tuple[str, ...] = ()

    def __init__(self, model: str | dspy.BaseLM | None) -> None:
        if model is not None:
            model = as_lm(model)
        self._model: dspy.BaseLM | None = model
        self.last_usage: UsageReport | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        raise NotImplementedError

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """The model, for everything that is asked inside."""
        meter = Meter()
        with dspy.context(lm=MeteredLM(self._model or as_lm(None), meter, "reflection", whole=True)):
            yield
        self.last_usage = meter.report()

    def __repr__(self) -> str:
        model = "the configured model" if self._model is None else self._model.model
        return f"<{type(self).__name__.lstrip('_')}({', '.join(self._inputs)}) by {model}>"

    async def acall(self, *args: Any, **kwargs: Any) -> R:
        return await awaited(self.__call__, *args, **kwargs)

    def invoke(self, input: Mapping[str, Any], config: Any = None, **_: Any) -> R:
        """LangMem's dict form: the keys of `input` are the arguments; of LangChain's `config`, see the function."""
        return self(**self._arguments(input), **self._configured(config))

    async def ainvoke(self, input: Mapping[str, Any], config: Any = None, **_: Any) -> R:
        return await self.acall(**self._arguments(input), **self._configured(config))

    def _arguments(self, given: Any) -> dict[str, Any]:
        required, known = set(self._inputs), {*self._inputs, *self._optional}
        if not isinstance(given, Mapping) or not required <= set(given) <= known:
            shown = sorted(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
            may = f", and perhaps {', '.join(self._optional)}" if self._optional else ""
            raise InputError(f"invoke takes a dict with the keys {', '.join(self._inputs)}{may}; got {shown}")
        return dict(given)

    def _configured(self, config: Any) -> dict[str, Any]:
        return {}  # LangChain's config says nothing to most functions
