"""The desk a peer works at: the model over loopback, and the program, cases and judge of a world, on one account.

Every request is counted where it reaches the engine; with the budget spent, none is answered any more.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import dspy
from dspy.lm15 import BillingError, Request, Response

from langmem_dspy.simulation import Endpoint, SimulatedEngine
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.questions import read
from langmem_dspy.simulation.rules import Rule
from langmem_dspy.simulation.worlds import Stage, World
from langmem_dspy.simulation.worlds.pipeline import instructions


@dataclass(frozen=True)
class Checkpoint:
    """The prompts an optimizer would have given back after so many calls and tokens."""

    lm_calls: int
    tokens: int
    prompts: Mapping[str, str]


class CountingEngine(SimulatedEngine):
    """The offline model on an account of `budget` calls. `leaks`: replies with a rule that no request held."""

    def __init__(self, profile: str, seed: int, budget: int) -> None:
        super().__init__(profile, seed)
        self.budget = budget
        self.lm_calls = self.tokens = 0
        self.leaks: list[str] = []
        self._account = threading.Lock()

    @property
    def spent(self) -> bool:
        return self.lm_calls >= self.budget

    def complete(self, request: Request) -> Response:
        with self._account:
            if self.spent:
                raise BillingError(f"the budget of {self.budget} calls is spent", status=402)
            self.lm_calls += 1
        response = super().complete(request)
        said = f"{response.text or ''}\n{' '.join(str(call.input) for call in response.tool_calls)}"
        new = _untold(said, read(request).text)
        with self._account:
            self.tokens += (response.usage.input_tokens or 0) + (response.usage.output_tokens or 0)
            self.leaks += map(str, new)
        return response


def _untold(said: str, asked: str) -> list[Rule]:
    """The rules in a reply that are not in its request; a line that is quoted from there word for word has none."""
    there = set(find_rules(asked))
    words = " ".join(asked.split())
    own = "\n".join(line for line in said.splitlines() if " ".join(line.split()) not in words)
    return [rule for rule in find_rules(own) if rule not in there | {known.general for known in there}]


class Rolling:
    """A world's program on `lm`, step by step; the same step asked for again is answered from memory."""

    def __init__(self, world: World, lm: dspy.BaseLM) -> None:
        self.world, self.lm = world, lm
        self._signatures = {name: p.signature for name, p in world.program().named_predictors()}
        self.asked: Counter[str] = Counter()  # requests by predictor
        self._known: dict[str, dict[str, str]] = {}

    def step(self, predictor: str, prompt: str, inputs: Mapping[str, str]) -> dict[str, str]:
        """The outputs of one predictor under this prompt."""
        key = json.dumps([predictor, prompt, inputs], sort_keys=True)
        if key not in self._known:
            self.asked[predictor] += 1
            asked = dspy.Predict(self._signatures[predictor].with_instructions(prompt))
            with dspy.context(lm=self.lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
                self._known[key] = {name: str(value) for name, value in asked(**inputs).items()}
        return self._known[key]

    def outputs(
        self,
        prompts: Mapping[str, str],
        example: dspy.Example,
        corrected: Mapping[str, Mapping[str, str]] | None = None,
    ) -> tuple[dict[str, str], list[dict[str, Any]]]:
        """What the whole program writes, and each of its steps ({predictor, inputs, outputs}).

        `corrected`: what a predictor says in its first step, whatever its prompt.
        """
        fields = dict(example.inputs())
        instead = dict(corrected or {})
        written: dict[str, str] = {}
        steps = []
        for stage in self.world.stages * self.world.rounds:
            if stage.runs(fields):
                inputs = {name: fields.get(stage.wire(name), "") for name in stage.inputs}
                said = dict(instead.pop(stage.name, None) or self.step(stage.name, prompts[stage.name], inputs))
                steps.append({"predictor": stage.name, "inputs": inputs, "outputs": said})
                written |= {stage.wire(name): value for name, value in said.items()}
                fields |= written
        return written, steps


class Desk:
    """A running desk; a context manager. `checkpoints` is what the peer reported, in order."""

    def __init__(self, world: World, engine: CountingEngine) -> None:
        self.world, self.engine = world, engine
        self.checkpoints: list[Checkpoint] = []
        self.model = Endpoint(engine)
        self.rolling = Rolling(world, dspy.LM("offline/simulation", engine=engine, cache=False))
        self._cases = {e.case: e for e in world.trainset + world.valset}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Desk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.model.close()
        self._server.shutdown()
        self._server.server_close()

    # --- what a peer may ask ---

    def problem(self) -> dict[str, Any]:
        world = self.world
        return {
            "prompts": instructions(world.program()),
            "stages": [_told(stage) for stage in world.stages * world.rounds],
            "guidance": world.guidance,
            "train": [e.case for e in world.trainset],
            "val": [e.case for e in world.valset],
            "inputs": {name: dict(e.inputs()) for name, e in self._cases.items()},
        }

    def rollouts(self, prompts: Mapping[str, str], cases: list[str]) -> list[dict[str, Any]]:
        return [self._rolled_out(prompts, case) for case in cases]

    def step(self, predictor: str, prompt: str, inputs: Mapping[str, str]) -> dict[str, str]:
        return self.rolling.step(predictor, prompt, inputs)

    def judge(self, case: str, outputs: Mapping[str, str]) -> dict[str, Any]:
        said = self.world.metric(self._cases[case], dspy.Prediction(**outputs))
        return {"score": said.score, "feedback": said.feedback}

    def report(self, prompts: Mapping[str, str]) -> None:
        self.checkpoints.append(Checkpoint(self.engine.lm_calls, self.engine.tokens, dict(prompts)))

    def usage(self) -> dict[str, Any]:
        return {"lm_calls": self.engine.lm_calls, "tokens": self.engine.tokens, "spent": self.engine.spent}

    def _rolled_out(self, prompts: Mapping[str, str], case: str) -> dict[str, Any]:
        outputs, steps = self.rolling.outputs(prompts, self._cases[case])
        return {"case": case, "steps": steps, **self.judge(case, outputs)}


def _told(stage: Stage) -> dict[str, Any]:
    """A stage as a peer is told of it: its fields, those of the program behind them, and when it runs."""
    when = stage.only_if
    if when is not None and (when.relation != "is" or when.negated):
        raise ValueError(f"a peer cannot be told when {stage.name} runs: {when}")
    return {
        "name": stage.name,
        "reads": {name: stage.wire(name) for name in stage.inputs},
        "writes": {name: stage.wire(name) for name in stage.outputs},
        "only_if": None if when is None else {"field": when.field, "values": when.values},
    }


VERBS = ("problem", "rollouts", "step", "judge", "report", "usage")


def _handler(desk: Desk) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            verb = self.path.strip("/")
            if verb not in VERBS:
                return self._send(404, {"error": f"there is no {verb!r}; ask for {', '.join(VERBS)}"})
            try:
                return self._send(200, getattr(desk, verb)(**asked))
            except Exception as error:  # noqa: BLE001 - the peer is told, whatever it was
                return self._send(402 if desk.engine.spent else 500, {"error": repr(error)})

        def _send(self, status: int, answer: Any) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
