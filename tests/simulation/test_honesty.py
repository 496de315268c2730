"""The engine says nothing it was not told: whole runs are recorded, and every reply is held against its request."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import dspy
import pytest

from langmem_dspy import simulation
from langmem_dspy.optimizers.kinds import GradientOptimizer, MultiPromptOptimizer, PromptMemoryOptimizer
from langmem_dspy.simulation import worlds
from langmem_dspy.simulation.dispatch import role_of
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.questions import read
from langmem_dspy.usage import Budget


class Recorder:
    """An engine that keeps what went through it."""

    supports_function_calling = True
    supports_response_schema = True
    supported_params = simulation.SimulatedEngine.supported_params

    def __init__(self, profile: str, seed: int) -> None:
        self.engine = simulation.SimulatedEngine(profile, seed)
        self.heard: list[tuple[dspy.lm15.Request, dspy.lm15.Response]] = []

    def __deepcopy__(self, memo):
        return self

    def complete(self, request):
        response = self.engine.complete(request)
        self.heard.append((request, response))
        return response


def texts(request, response) -> tuple[str, str]:
    asked = read(request).text
    calls = " ".join(str(call.input) for call in response.tool_calls)
    return asked, f"{response.text or ''} {calls}"


def gepa(world, budget):
    return dspy.GEPA(metric=world.metric, max_metric_calls=120, reflection_lm=dspy.settings.lm, num_threads=2)


def ours(kind):
    return lambda world, budget: kind(metric=world.metric, budget=budget, guidance=world.guidance, num_threads=2)


RUNS = {
    "gradient": ours(GradientOptimizer),
    "prompt_memory": ours(PromptMemoryOptimizer),
    "multi": ours(MultiPromptOptimizer),
    "gepa": gepa,
}


WORLDS = ("support_desk", "expense_office", "newsroom")


@pytest.fixture(scope="module", params=[(run, name) for run in RUNS for name in WORLDS], ids=str)
def run(request):
    """(world, what was heard) of a small compile with the most slipshod model."""
    run, name = request.param
    world = worlds.load(name, 5, n_train=12, n_val=6, n_test=1)
    recorder = Recorder("weak", 5)
    lm = dspy.LM("offline/recorded", engine=recorder, cache=False)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        compiler = RUNS[run](world, Budget(lm_calls=220))
        compiler.compile(world.program(), trainset=world.trainset, valset=world.valset)
    return world, recorder.heard


def test_no_reply_holds_a_rule_that_is_absent_from_its_request(run):
    _, heard = run
    reviewed = 0
    for request, response in heard:
        asked, said = texts(request, response)
        there = set(find_rules(asked))
        reviewed += bool(find_rules(said))
        assert set(find_rules(said)) <= there | {rule.general for rule in there}
    assert reviewed >= 2


def test_gold_answers_never_reach_the_engine(run):
    world, heard = run
    everything = "\n".join(read(request).text for request, _ in heard)
    examples = world.trainset + world.valset + world.testset
    assert len({example.case for example in examples}) == len(examples)
    assert not [example.case for example in examples if example.case in everything]
    assert "gold" not in everything.replace("golden", "")


def test_hidden_rules_reach_the_engine_only_through_feedback(run):
    world, heard = run
    told: set = set()
    for request, _ in heard:
        question = read(request)
        if role_of(question) == "reviewer":
            told |= set(find_rules(question.text))
        else:
            hidden = {rule for rules in world.hidden_rules.values() for rule in rules}
            assert set(find_rules(question.text)) & hidden <= told


def test_the_roles_are_told_apart_in_every_request(run):
    world, heard = run
    outputs = {name for stage in world.stages for name in stage.outputs}
    for request, _ in heard:
        question = read(request)
        works = {wanted.name for wanted in question.wanted} <= outputs
        assert role_of(question) == ("worker" if works else "reviewer")


def test_the_engine_answers_without_any_world_loaded():
    code = (
        "import sys; from langmem_dspy import simulation; "
        "lm = simulation.offline_lm(); lm('hello'); simulation.fingerprint(); "
        "print(sorted(name for name in sys.modules if 'simulation.worlds' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_fingerprint_is_of_the_engine_and_stays():
    assert simulation.fingerprint() == simulation.fingerprint()
    assert len(simulation.fingerprint()) == 12


def test_a_rule_that_only_stands_in_another_worlds_seed_is_unknown_here():
    here, there = worlds.load("support_desk", 1), worlds.load("support_desk", 2)
    assert here.hidden_rules != there.hidden_rules
    silent = replace(worlds.Voice(), silent=1.0)
    world = worlds.load("support_desk", 1, n_train=10, n_val=5, voice=silent)
    with dspy.context(lm=simulation.offline_lm(), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        compiler = GradientOptimizer(metric=world.metric, budget=Budget(lm_calls=200), num_threads=2)
        compiled = compiler.compile(world.program(), trainset=world.trainset, valset=world.valset)
    assert world.placement(compiled).recall == 0.0
