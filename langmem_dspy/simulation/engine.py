"""The offline model as an engine for `dspy.LM`: a request in, a reply out, and nothing known but the request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, Usage

from langmem_dspy.simulation.answers import parts, render
from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.dispatch import play
from langmem_dspy.simulation.faults import Faults, raise_for, spoiled
from langmem_dspy.simulation.profiles import Profile, find_profile
from langmem_dspy.simulation.questions import prompt_tokens, read, request_text, tokens


class SimulatedEngine:
    """Answers requests by rules read from them. The same request gets the same reply, in any order, from any thread.

    `latency` is seconds slept per reply, off the CPU. `faults` is for tests of what stands around a model.
    """

    supports_function_calling = True
    supports_reasoning = False
    supports_response_schema = True
    supported_params = frozenset(
        {"temperature", "max_tokens", "response_format", "tools", "tool_choice", "seed", "top_p", "stop"}
    )

    def __init__(
        self,
        profile: str | Profile = "middle",
        seed: int = 0,
        *,
        latency: float = 0.0,
        faults: Faults | None = None,
    ) -> None:
        self.profile = find_profile(profile)
        self.seed = seed
        self.latency = latency
        self.faults = faults or Faults()
        self._attempts = self.faults.attempts()

    def __deepcopy__(self, memo: dict[int, Any]) -> SimulatedEngine:
        return self

    def complete(self, request: Request) -> Response:
        """The reply. Raises the errors of `dspy.lm15` where `faults` says so."""
        if self.latency:
            time.sleep(self.latency)
        return self._reply(request)

    def close(self) -> None:
        """Nothing is held open."""

    def dump_state(self) -> dict[str, Any]:
        return {
            "profile": asdict(self.profile),
            "seed": self.seed,
            "latency": self.latency,
            "faults": asdict(self.faults),
        }

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> SimulatedEngine:
        return cls(
            Profile(**state["profile"]), state["seed"], latency=state["latency"], faults=Faults(**state["faults"])
        )

    def _reply(self, request: Request) -> Response:
        asked = request_text(request)
        fault = self._attempts.next(asked, self.seed)
        raise_for(fault, self.faults)
        chance = Chance(self.seed, asked)
        question = read(request)
        whole = render(question, play(question, self.profile, chance))
        text, finish = spoiled(fault, whole, request.config.max_tokens)
        said = parts(question if text == whole else None, text, f"call_{chance.mark}")
        return Response(
            id=f"sim_{chance.mark}",
            model=request.model,
            message=Message.assistant(said),
            finish_reason="tool_call" if said[0].type == "tool_call" else finish,
            usage=Usage(input_tokens=prompt_tokens(request), output_tokens=tokens(text)),
        )


class AsyncSimulatedEngine:
    """The same engine, awaited."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self.engine = engine

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncSimulatedEngine:
        return self

    async def complete(self, request: Request) -> Response:
        if self.engine.latency:
            await asyncio.sleep(self.engine.latency)
        return self.engine._reply(request)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def dump_state(self) -> dict[str, Any]:
        return self.engine.dump_state()

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> AsyncSimulatedEngine:
        return cls(SimulatedEngine.load_state(state))


def offline_lm(
    profile: str | Profile = "middle",
    seed: int = 0,
    *,
    latency: float = 0.0,
    faults: Faults | None = None,
    **lm_options: Any,
) -> dspy.LM:
    """A `dspy.LM` that needs no network. `lm_options` go to `dspy.LM`; its cache is off unless asked for.

    `profile`: "weak", "middle" or "strong". `latency`: seconds per reply.
    """
    engine = SimulatedEngine(profile, seed, latency=latency, faults=faults)
    return dspy.LM(
        model_name(engine.profile),
        engine=engine,
        async_engine=AsyncSimulatedEngine(engine),
        **{"cache": False, **lm_options},
    )


def model_name(profile: Profile) -> str:
    """The name its models go by, which tells them apart from any real one."""
    return f"offline/simulation-{profile.name}"


def is_simulated(lm: object) -> bool:
    """Whether `lm`, or the model behind a wrapper or an endpoint, is this simulation, as far as its name tells."""
    name = lm if isinstance(lm, str) else getattr(lm, "model", None)
    return isinstance(name, str) and name.rpartition("/")[2].startswith("simulation-")
