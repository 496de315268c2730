"""Online learning: live feedback becomes lessons, lessons become versions of the prompts, tried before they are used.

    online = OnlineOptimizer(program, path="learning", reflection_lm="openai/gpt-4.1")
    live = online.run(ticket="...")                      # the prompts in use, recorded
    online.learn(live, "The queue was billing.")         # now, or from a thread: executor.submit(online.learn, ...)

What counts as feedback: text, a score in [0, 1], {predictor: text}, an edit {output field: what it should have been}.
What never does: the agent's own text. A trajectory nobody said anything about teaches nothing, and costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from langmem_dspy.awaiting import awaited
from langmem_dspy.errors import BudgetExhausted, InputError
from langmem_dspy.events import Announcer, Listener
from langmem_dspy.metered_lm import MeteredLM
from langmem_dspy.optimizers.acceptance import Acceptance, Helps
from langmem_dspy.optimizers.credit import TraceCredit
from langmem_dspy.optimizers.kinds import Kind, make_proposer
from langmem_dspy.optimizers.learned import Learned, LiveRun, begun, versioned
from langmem_dspy.optimizers.lessons import Lesson
from langmem_dspy.optimizers.metrics import MetricFunction
from langmem_dspy.optimizers.observations import Observation, RegressionSet, observe
from langmem_dspy.optimizers.online_state import Memory, OnlineState, PromptVersion
from langmem_dspy.optimizers.prompts import is_frozen, read_prompts, task_models, with_prompts
from langmem_dspy.optimizers.recording import Recorder
from langmem_dspy.optimizers.reflecting import Reflection
from langmem_dspy.optimizers.regression import RegressionTest
from langmem_dspy.optimizers.replaying import Replays, rerecorded
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.replies import as_lm
from langmem_dspy.usage import Budget, Meter, UsageReport


class OnlineOptimizer:
    """Learns from live trajectories with feedback, and promotes prompts that are not worse on what it has seen.

    `kind`, `config`: the proposer, as in `create_prompt_optimizer`. `metric`: scores replays; the examples handed to
    `learn` are its gold. None: a replay is judged by the complaint itself (is what was missed there now?) and by
    what was said to be right; complaints that name nothing to look for teach only together with others.
    `budget`: for the whole life of the state; raised by opening it with a larger one.
    `path`: a folder that keeps the state; None keeps it in memory. Processes may share it.
    `every`: complaints to wait for before a reflection; more are cheaper each, fewer are heard sooner.
    `regression_size`: observations kept to try new versions on (see `RegressionSet`); `controls`: how many of them
    each new version is tried on beside the complaints themselves, those that are about the same first.
    `auto_promote`: whether a version that stood its trial is used at once; else by `promote`.

    `callbacks`: hear of each version (`events.PromptsVersioned`). With `tracking.enable()` they become versions in
    MLflow's prompt registry: the alias `champion` is on those in use, `candidate` on those that wait.

    Safe over threads. `learn` blocks while it reflects: hand it to an executor where a live agent must not wait.
    """

    def __init__(
        self,
        program: dspy.Module,
        kind: Kind = "gradient",
        *,
        metric: MetricFunction | None = None,
        reflection_lm: str | dspy.BaseLM | None = None,
        credit: Callable[..., dspy.Prediction] | None = None,
        guidance: Mapping[str, Mapping[str, str]] | None = None,
        config: Mapping[str, Any] | None = None,
        acceptance: Acceptance | None = None,
        budget: Budget | None = None,
        path: str | os.PathLike[str] | None = None,
        every: int = 12,
        regression_size: int = 64,
        controls: int = 3,
        auto_promote: bool = True,
        num_threads: int = 8,
        callbacks: Sequence[Listener] = (),
    ) -> None:
        for name, value in (("every", every), ("regression_size", regression_size), ("num_threads", num_threads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be an int of at least 1, got {value!r}")
        self._guided = read_prompts(program, guidance)
        self._frozen = [prompt["name"] for prompt in self._guided if is_frozen(prompt)]
        self._student = with_prompts(program, {})
        self._base = {prompt["name"]: prompt["prompt"] for prompt in self._guided}
        self.metric, self.budget, self.credit = metric, budget or Budget(), credit or TraceCredit()
        self.acceptance, self.auto_promote = acceptance or Helps(), auto_promote
        self.every, self.regression_size, self.controls, self.num_threads = (
            every,
            regression_size,
            controls,
            num_threads,
        )
        self._proposer, self.listeners, self._announced = make_proposer(kind, config), list(callbacks), False
        self._task_lm, self._reflection_lm = dspy.settings.lm, as_lm(reflection_lm)
        self._model = task_models(program)
        base = PromptVersion(0, self._base, reason="the program's own")
        self._state = OnlineState(None if path is None else Path(path), {"prompts": self._base}, base)

    # --- using it ---

    @property
    def program(self) -> dspy.Module:
        """A copy of the program with the prompts in use."""
        return with_prompts(self._student, self._state.champion().prompts)

    def run(self, **inputs: Any) -> LiveRun:
        """Run the program in use, and record it for `learn`. These calls are the live system's, and not metered."""
        version = self._state.champion()
        program = with_prompts(self._student, version.prompts)
        recorder = Recorder(program)
        prediction = program(**inputs)
        return LiveRun(prediction, Trajectory("live", steps=recorder.steps()), inputs, version.number)

    def learn(
        self, trajectory: Any, feedback: Any = None, *, example: Any = None, version: int | None = None
    ) -> Learned:
        """Take in one live run and what was said about it, and reflect once enough complaints have come together.

        `trajectory`: a `LiveRun`, or any form of conversation or trajectory. `example`: what the program was run on
        (a dict, or a dspy.Example with labels for the metric); read out of the trajectory's steps if None.
        `version`: of the prompts it was run with; the one in use if None.
        """
        if isinstance(trajectory, LiveRun):
            example = trajectory.inputs if example is None else example
            trajectory, version = trajectory.trajectory, trajectory.version
        number = self._state.champion().number if version is None else self._state.version(version).number
        seen = observe(trajectory, feedback, program=self._student, example=example, version=number, model=self._model)
        if not seen.right and not seen.complained_of:
            return Learned("nothing was said about it")
        self._state.receive(seen, self.regression_size)
        return self._reflect(self.every)

    async def alearn(self, trajectory: Any, feedback: Any = None, **options: Any) -> Learned:
        """`learn`, awaited in a thread."""
        return await awaited(self.learn, trajectory, feedback, **options)

    def flush(self) -> Learned:
        """Reflect on what is waiting, however little it is."""
        return self._reflect(1)

    # --- versions ---

    @property
    def version(self) -> PromptVersion:
        """The version in use."""
        return self._state.champion()

    def versions(self) -> tuple[PromptVersion, ...]:
        """Every version so far; number 0 is the program's own."""
        return tuple(self._state.versions())

    def promote(self, version: int) -> PromptVersion:
        """Put a version in use as it is."""
        with self._state.learning():
            memory, chosen = self._state.memory(), self._state.version(version)
            memory.champion = chosen.number
            self._state.save(memory)
            self._announce(memory, chosen, "promoted by hand")
        return chosen

    def rollback(self, version: int) -> PromptVersion:
        """Put an earlier version in use; the lessons that came after it are taken back, and not learned again."""
        with self._state.learning():
            memory, chosen = self._state.memory(), self._state.version(version)
            ledger = memory.ledger(self._base, self._frozen)
            gone = [ledger.lessons[i] for i in ledger.in_force if i not in chosen.lessons]
            ledger.go_back(chosen.lessons, f"rolled back to version {version}")
            memory.lessons, memory.in_force, memory.champion = ledger.lessons, ledger.in_force, chosen.number
            memory.withdrawn |= {(lesson.predictor, lesson.text) for lesson in gone}
            self._state.save(memory)
            self._announce(memory, chosen, "rolled back")
        return chosen

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """Every lesson so far, with what became of it."""
        return tuple(self._state.memory().lessons)

    @property
    def regression_set(self) -> tuple[Observation, ...]:
        """What new versions are tried on, oldest first."""
        return tuple(seen for _, seen in self._state.observations(kept=True))

    @property
    def spent(self) -> UsageReport:
        """What learning has cost over the whole life of the state."""
        memory = self._state.memory()
        return UsageReport(replayed=memory.spent, metric_calls=memory.metric_calls)

    def close(self) -> None:
        self._state.close()

    def __enter__(self) -> OnlineOptimizer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- a reflection ---

    def _reflect(self, enough: int) -> Learned:
        with self._state.learning():
            rows = self._state.observations(kept=False)
            complaints = sum(seen.complained_of for _, seen in rows)
            if complaints < enough:
                return self._put_away(rows, complaints)
            memory = self._state.memory()
            meter = Meter(memory.remaining(self.budget))
            if limit := meter.spent():
                return Learned(f"the budget of {limit} is spent; what came in waits", waiting=complaints)
            return self._reflected(memory, meter, rows)

    def _put_away(self, rows: Sequence[tuple[int, Observation]], complaints: int) -> Learned:
        """Keep what was right; complaints wait for more."""
        if done := [(at, seen) for at, seen in rows if seen.right]:
            kept = self._state.regression_set(self.regression_size)
            for _, seen in done:
                kept.keep(seen)
            self._state.save(self._state.memory(), done=[at for at, _ in done], kept=list(kept.kept.values()))
        return Learned(f"{complaints} of {self.every} complaints are waiting", waiting=complaints)

    def _reflected(self, memory: Memory, meter: Meter, rows: Sequence[tuple[int, Observation]]) -> Learned:
        kept, waiting = self._state.regression_set(self.regression_size), [seen for _, seen in rows]
        reflection = self._reflection(memory, meter, kept, waiting)
        cut = ""
        try:
            changed = reflection(waiting)
        except BudgetExhausted as error:
            changed, cut = False, f"the budget of {error.limit} was spent in the middle of a trial"
        finally:
            spent = meter.report()
            memory.spent, memory.metric_calls = memory.spent + spent.total, memory.metric_calls + spent.metric_calls
            self._state.save(memory)
        memory.steps, memory.lessons = memory.steps + 1, reflection.ledger.lessons
        memory.in_force = reflection.ledger.in_force
        version = (
            self._state.next_version(reflection.ledger, reflection.tried, reflection.why(True)) if changed else None
        )
        if version is not None and self.auto_promote:
            memory.champion = version.number
        for seen in waiting:
            kept.keep(seen)
        if version is not None:
            kept.kept = {name: rerecorded(o, reflection.board, version.number) for name, o in kept.kept.items()}
        done = [] if cut else [at for at, _ in rows]
        left = [seen for seen in kept.kept.values() if seen.example is not None]
        self._state.save(memory, version, done=done, kept=None if cut else left)
        if version is not None:
            self._announce(memory, version, version.reason)
        before, after = reflection.tried or (None, None)
        return Learned(
            cut or reflection.why(changed),
            tuple(reflection.lessons),
            memory.champion if version is not None and self.auto_promote else None,
            before,
            after,
            len(waiting) if cut else 0,
            tuple(dict.fromkeys([*reflection.notes, *reflection.regression.notes])),
            spent,
        )

    def _reflection(
        self, memory: Memory, meter: Meter, kept: RegressionSet, waiting: Sequence[Observation]
    ) -> Reflection:
        replays = Replays(self._student, self.metric, meter, self.num_threads, self._task_lm)
        texts = {version.number: version.prompts for version in self._state.versions()}
        for seen in (*kept.kept.values(), *waiting):
            if seen.model == self._model:
                replays.remember(seen, texts[seen.version])
        ledger = memory.ledger(self._base, self._frozen)
        known = {**kept.kept, **{seen.id: seen for seen in waiting}}
        return Reflection(
            ledger,
            self._guided,
            self._proposer,
            self.credit,
            self.acceptance,
            MeteredLM(self._reflection_lm, meter, "reflection", whole=True),
            replays,
            RegressionTest(ledger, replays, known, texts, self.controls),
            self.num_threads,
            memory.steps + 1,
            memory.withdrawn,
        )

    def _announce(self, memory: Memory, version: PromptVersion, reason: str) -> None:
        models = {"task": self._model, "reflection": self._reflection_lm.model}
        announce = Announcer(self.listeners)
        if not self._announced:
            announce(begun(memory.run_id, {"every": self.every, "controls": self.controls}, models, self._base))
            self._announced = True
        if version.number == 1:
            announce(versioned(memory.run_id, self._state.version(0), "champion", "the program's own"))
        alias = "champion" if version.number == memory.champion else "candidate"
        announce(versioned(memory.run_id, version, alias, reason))
