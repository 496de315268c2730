"""One reflection on live feedback: draft lessons, try each where it was asked for, and all of them where it was right.

Made for few calls. A lesson is tried on one observation that asks for it: only the changed predictor, and what follows
if its output changed, is asked anew. What is kept is tried together on some of the regression set, most of all where
the lessons are about the same; a lesson that makes something worse there has to outweigh it by those who asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import dspy

from langmem_dspy.optimizers.acceptance import Acceptance, Effect
from langmem_dspy.optimizers.doubts import doubtful
from langmem_dspy.optimizers.drafting import looked_at, placed
from langmem_dspy.optimizers.lessons import Draft, Ledger, Lesson, salient
from langmem_dspy.optimizers.observations import Observation
from langmem_dspy.optimizers.prompts import Prompt, is_frozen
from langmem_dspy.optimizers.regression import RegressionTest
from langmem_dspy.optimizers.replaying import Replays, asks
from langmem_dspy.optimizers.rollouts import Rollout, in_threads
from langmem_dspy.optimizers.tracing import Fields, complaint, overlap, sentences
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.optimizers.trials import effect_of

SHOWN_AT_ONCE = 6  # trajectories in one request
LOOKS, TELLING = 2, 3  # as in `drafting`, for fewer calls
DOUBTS = 2  # lessons in force to test against new complaints, in one reflection
CORROBORATED = 2  # conversations that must ask for what cannot be replayed
SHARED = 0.7  # of the clearest complaint: as clear where another lesson is tried anyway
MEANT = 0.25  # likeness of a complaint and the lesson that is to answer it
OWN_WORDS = 0.8  # of a draft, in the agent's own text


@dataclass
class Reflection:
    """What one reflection works with, and what it finds."""

    ledger: Ledger
    guided: Sequence[Prompt]
    proposer: dspy.Module
    credit: Callable[..., dspy.Prediction]
    acceptance: Acceptance
    reflection_lm: dspy.BaseLM
    replays: Replays
    regression: RegressionTest
    num_threads: int
    step: int = 0
    withdrawn: frozenset[tuple[str, str]] = frozenset()  # (predictor, text) of what was rolled back
    lessons: list[Lesson] = field(default_factory=list)  # drafted
    board: dict[str, Rollout] = field(default_factory=dict)  # under the new prompts
    tried: tuple[float, float] | None = None  # mean score on what the promotion was tried on, before and after
    notes: list[str] = field(default_factory=list)

    def __call__(self, waiting: Sequence[Observation]) -> bool:
        """Learn from these; whether the lessons in force are others now. Raises `BudgetExhausted` in between."""
        before = self.ledger.in_force
        self.lessons = self.ledger.take_up(self._drafts(waiting), self.step)
        fresh = [lesson for lesson in self.lessons if lesson.fate == "trial"]
        try:
            found = self._tried(fresh, waiting) if fresh else []
            found += self._corroborated([lesson for lesson in fresh if lesson not in found], waiting)
            dropped = self._doubted(waiting, before)
            standing = bool(found or dropped) and self._stand(found, before, dropped)
        except BaseException:
            self.ledger.go_back(before, "the trial was cut off")
            raise
        finally:
            self.lessons = [self.ledger.lessons[lesson.id] for lesson in self.lessons]
        return standing

    def why(self, changed: bool) -> str:
        """What came of it, in words."""
        helping = sum(lesson.fate == "in force" for lesson in self.lessons)
        if changed:
            return f"{helping} of {len(self.lessons)} lessons help"
        return f"none of {len(self.lessons)} lessons is of use" if self.lessons else "no change proposed"

    # --- drafts ---

    def _drafts(self, waiting: Sequence[Observation]) -> list[Draft]:
        trajectories = [o.trajectory for o in waiting if o.complained_of]
        if not trajectories:
            return []
        with dspy.context(lm=self.reflection_lm):
            work = self._blamed(trajectories)
            looks = in_threads(lambda w: looked_at(self.proposer, *w, LOOKS, TELLING), work, self.num_threads)
        self.notes += [f"{prompt['name']}: {why}" for (prompt, _), (_, why) in zip(work, looks, strict=True) if why]
        fields = Fields(trajectories)
        drafts = []
        for draft in (placed(draft, fields.owners(draft.text)) for found, _ in looks for draft in found):
            if (draft.predictor, draft.text) in self.withdrawn:
                self.notes.append(f"rolled back before, and not tried again: {draft.text}")
            elif _own_words(draft.text, trajectories):
                self.notes.append(f"the agent's own words, which nobody asked for: {draft.text}")
            else:
                drafts.append(draft)
        return drafts

    def _blamed(self, trajectories: Sequence[Trajectory]) -> list[tuple[Prompt, list[Trajectory]]]:
        texts = self.ledger.prompts()
        prompts = {p["name"]: Prompt(**{**p, "prompt": texts[p["name"]]}) for p in self.guided if not is_frozen(p)}
        credit = self.credit(prompts=list(prompts.values()), trajectories=list(trajectories))
        work = []
        for blame in credit.blame:
            evidence = [t for t in trajectories if t.id in blame.evidence] or list(trajectories)
            if blame.name in prompts:
                starts = range(0, len(evidence), SHOWN_AT_ONCE)
                work += [(prompts[blame.name], evidence[start : start + SHOWN_AT_ONCE]) for start in starts]
        return work

    # --- trials ---

    def _tried(self, fresh: Sequence[Lesson], waiting: Sequence[Observation]) -> list[Lesson]:
        """The lessons that help where they were asked for."""
        spots = self._spots(fresh, waiting)
        chains = in_threads(lambda spot: self._effects(*spot), spots, self.num_threads)
        helpful = []
        for effect in (effect for chain in chains for effect in chain):
            helps = self.acceptance(effect) and effect.gain >= 0
            fate = "trial" if helps else "rejected" if effect.moved else "idle"
            self.ledger.settle(effect.lesson.id, fate, effect.gain, effect.examples)
            if helps:
                helpful.append(self.ledger.lessons[effect.lesson.id])
        return sorted(helpful, key=lambda lesson: lesson.id)

    def _spots(self, fresh: Sequence[Lesson], waiting: Sequence[Observation]) -> list[tuple[Observation, list[Lesson]]]:
        """Where to try each lesson: the observation that asks for it most, and of equals the one chosen already."""
        chosen: dict[str, list[Lesson]] = {}
        by_id = {o.id: o for o in waiting if self.replays.can_judge(o)}
        order = [prompt["name"] for prompt in self.guided]
        for lesson in sorted(fresh, key=lambda lesson: order.index(lesson.predictor)):
            asking = self._asking(lesson, by_id.values())
            if asking:
                enough = SHARED * asks(lesson, asking[0])
                shared = next((o for o in asking if o.id in chosen and asks(lesson, o) >= enough), asking[0])
                chosen.setdefault(shared.id, []).append(lesson)
        return [(by_id[name], lessons) for name, lessons in chosen.items()]

    def _asking(self, lesson: Lesson, observations: Iterable[Observation]) -> list[Observation]:
        found = [o for o in observations if o.id in lesson.evidence and asks(lesson, o) > 0]
        return sorted(found, key=lambda o: -asks(lesson, o))

    def _effects(self, observation: Observation, lessons: Sequence[Lesson]) -> list[Effect]:
        """What each lesson does here, by one replay with all of them where the complaints tell them apart."""
        ids = [*self.ledger.in_force, *(lesson.id for lesson in lessons)]
        before = self.replays.roll_out(self.ledger.prompts(), [observation])
        after = self.replays.roll_out(self.ledger.prompts(ids), [observation])
        if not after or not before or len(lessons) == 1:
            return [effect_of(lesson, after, before) for lesson in lessons]
        effects = []
        for lesson in lessons:
            held = _answered(lesson, observation, after[observation.id].trajectory)
            if held is None:
                without = self.ledger.prompts(i for i in ids if i != lesson.id)
                effects.append(effect_of(lesson, after, self.replays.roll_out(without, [observation])))
            else:
                effects.append(_credited(effect_of(lesson, after, before), held, len(lessons)))
        return effects

    def _corroborated(self, fresh: Sequence[Lesson], waiting: Sequence[Observation]) -> list[Lesson]:
        """Of what cannot be replayed, the lessons that several conversations ask for."""
        replayable = {o.id for o in waiting if self.replays.can_judge(o)}
        found = []
        for lesson in fresh:
            if replayable & set(lesson.evidence):
                continue
            alike = [k for k in self.ledger.lessons if k.predictor == lesson.predictor and _same(k, lesson)]
            asked = {name for known in alike for name in known.evidence}
            if len(asked) >= CORROBORATED:
                found.append(lesson)
            else:
                note = "it cannot be replayed, and waits for another conversation that asks for it"
                self.ledger.settle(lesson.id, "idle", 0.0, (), note)
        return found

    def _doubted(self, waiting: Sequence[Observation], in_force: Sequence[int]) -> list[int]:
        """Lessons in force that new complaints speak against and whose absence helps there."""
        known = {o.id: o for o in waiting if self.replays.can_judge(o) and o.complained_of}
        prompts = self.ledger.prompts()
        board = {name: Rollout(name, o.trajectory, o.trajectory.score) for name, o in known.items()}
        dropped = []
        for lesson, name in doubtful(self.ledger, board, list(known))[:DOUBTS]:
            with_it = self.replays.roll_out(prompts, [known[name]])
            without = self.replays.roll_out(self.ledger.prompts(i for i in in_force if i != lesson.id), [known[name]])
            effect = effect_of(lesson, with_it, without)
            tried_on = (*lesson.tried_on, name)
            self.ledger.settle(lesson.id, "in force", lesson.gain + effect.gain, tried_on)
            if self.acceptance.hurts(effect, lesson.gain + effect.gain):
                dropped.append(lesson.id)
        self.ledger.go_back(in_force, "")  # settling one changes the order
        return dropped

    def _stand(self, found: list[Lesson], before: tuple[int, ...], dropped: list[int]) -> bool:
        """Put in force what stands on the regression set; whether that changed anything."""
        ids = tuple(i for i in before if i not in dropped)
        lessons, self.board = self.regression.standing(found, ids, [self.ledger.lessons[i] for i in dropped])
        self.tried = self.regression.scores(self.board)
        if self.tried is not None and self.tried[1] < self.tried[0] - 1e-9:
            for lesson in lessons:
                note = "the prompts with it were worse on the regression set"
                self.ledger.settle(lesson.id, "rejected", lesson.gain, lesson.tried_on, note)
            self.ledger.go_back(before, "")
            return False
        for lesson in lessons:
            self.ledger.settle(lesson.id, "in force", lesson.gain, lesson.tried_on)
        if dropped:
            self.ledger.go_back(
                [i for i in self.ledger.in_force if i not in dropped], "later feedback spoke against it"
            )
        return self.ledger.in_force != before


def _answered(lesson: Lesson, observation: Observation, after: Trajectory) -> bool | None:
    """Whether what the lesson is to answer is answered in a replay; None where the output does not tell."""
    own = [want for want in observation.wants if want.predictor == lesson.predictor]
    likeness = {want: overlap(lesson.text, sentences(want.text)) for want in own}
    meant = max(own, key=lambda want: likeness[want], default=None)
    return meant.holds(after) if meant is not None and likeness[meant] >= MEANT else None


def _credited(together: Effect, held: bool, among: int) -> Effect:
    """One lesson's share of an effect of several, by whether its own complaint was answered."""
    return replace(together, gain=together.gain / among if held else 0.0, quiet=float(held), asked=float(not held))


def _same(a: Draft, b: Draft) -> bool:
    return salient(a.text) == salient(b.text) and a.replaces.strip() == b.replaces.strip()


def _own_words(text: str, trajectories: Sequence[Trajectory]) -> bool:
    """Whether the agent has said this itself, and the feedback says it less."""
    asked = max((complaint(text, trajectory) for trajectory in trajectories), default=0.0)
    return any(_spoken(text, trajectory) > max(asked, OWN_WORDS) for trajectory in trajectories)


def _spoken(text: str, trajectory: Trajectory) -> float:
    """How much of `text` some sentence of the agent's own says."""
    said = [str(value) for step in trajectory.steps for value in (step.outputs or {}).values()]
    said += [message.content for message in trajectory.messages if message.role == "assistant"]
    return overlap(text, sentences("\n".join(said)))
