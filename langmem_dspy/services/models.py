"""Which models callers may choose. Where a model is asked, and with which key, only the server's owner decides."""

from __future__ import annotations

import fnmatch
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from langmem_dspy import simulation
from langmem_dspy.errors import InputError
from langmem_dspy.replies import as_lm, model_name
from langmem_dspy.services.calls import cancellable

OFFLINE = "offline"
SIMULATED = "the offline simulation answers: it follows simple rules that it reads, and says nothing about real models"
_KEPT = 32
_FORBIDDEN = frozenset({
    "api_base", "api_key", "base_url", "api_version", "engine", "headers", "extra_headers", "extra_body",
    "model_kwargs", "provider", "query_model", "organization", "azure_endpoint", "vertex_credentials",
})  # fmt: skip


class Models:
    """The model of the server, and those a caller may name instead.

    `allowed` are model strings, with `*` for any part ("openai/*"). `default` None is the offline simulation.
    """

    def __init__(self, default: dspy.BaseLM | str | None = None, allowed: Sequence[str] = ()) -> None:
        lm = simulation.offline_lm() if default is None else as_lm(default)
        self.name: str = lm.model
        self.allowed = tuple(allowed)
        self._default = cancellable(lm)
        self._made: OrderedDict[str, dspy.LM] = OrderedDict()

    @property
    def simulated(self) -> bool:
        return bool(simulation.is_simulated(self.name))

    def find(self, model: Any) -> dspy.LM:
        """The model a caller names; None is the server's own. Raises `InputError` for one that is not allowed."""
        if model is None:
            return self._default
        if not isinstance(model, str) or not model.strip():
            raise InputError(f"a model is named by text such as 'openai/gpt-4.1-mini', not by {type(model).__name__}")
        name = model_name(model)
        if name == self.name or (name == OFFLINE and self.simulated):
            return self._default
        if not any(fnmatch.fnmatchcase(name, model_name(pattern)) for pattern in self.allowed):
            offered = ", ".join([self.name, *self.allowed])
            raise InputError(f"the model {model[:100]!r} is not offered here; choose among: {offered}")
        if name not in self._made:
            self._made[name] = cancellable(as_lm(name))
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(name)
        return self._made[name]

    def check(self, configurable: Mapping[str, Any]) -> None:
        """Refuse a config that names a model not allowed, or says where a model is to be asked."""
        options = configurable.get("options")
        named = {*configurable, *(options if isinstance(options, Mapping) else ())}
        if wrong := sorted(named & _FORBIDDEN):
            raise InputError(f"{wrong[0]} cannot be set by a caller; the server's owner decides where models are asked")
        self.find(configurable.get("model"))

    async def aclose(self) -> None:
        """Close the connections to models."""
        for lm in (self._default, *self._made.values()):
            await lm.engine.aclose()
