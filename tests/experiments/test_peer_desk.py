"""The desk at which other libraries' optimizers are compared: exact accounts, and nothing told that was not asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dspy
import pytest

from langmem_dspy import simulation
from langmem_dspy.simulation import worlds
from langmem_dspy.simulation.parsing import find_rules

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

from benchmark_suite import WORLDS, arguments, world_of  # noqa: E402
from credit_assignment import Config, credit_assignment  # noqa: E402
from peers import client  # noqa: E402
from peers.desk import CountingEngine, Desk, Rolling  # noqa: E402
from peers.running import HERE, PEERS, as_settings, run_peer  # noqa: E402

from langmem_dspy.experimenting import Cell  # noqa: E402


@pytest.fixture
def world():
    return worlds.load("expense_office", 3, n_train=6, n_val=3, n_test=2)


def at_desk(world, budget):
    return Desk(world, CountingEngine("middle", 0, budget))


def test_no_call_is_answered_once_the_budget_is_spent(world):
    with at_desk(world, budget=5) as desk:
        peer = client.Desk({"desk": desk.address, "seed": 0})
        with pytest.raises(client.BudgetSpent):
            peer.roll_out(peer.prompts, peer.problem["train"])
        lm = dspy.LM(desk.model.model, api_base=desk.model.api_base, api_key="any", cache=False, num_retries=0)
        with pytest.raises(dspy.LMError):
            lm("hello")
        assert peer.spent() and desk.engine.lm_calls == 5


def test_the_same_step_is_asked_for_once(world):
    with at_desk(world, budget=100) as desk:
        peer = client.Desk({"desk": desk.address, "seed": 0})
        once = peer.roll_out(peer.prompts, peer.problem["train"][:2])
        spent = desk.engine.lm_calls
        assert peer.roll_out(peer.prompts, peer.problem["train"][:2]) == once
        assert desk.engine.lm_calls == spent
        peer.report(peer.prompts)
    assert [(point.lm_calls, point.prompts) for point in desk.checkpoints] == [(spent, peer.prompts)]


def test_a_peer_is_told_neither_rules_nor_gold_answers(world):
    with at_desk(world, budget=0) as desk:
        told = json.dumps(desk.problem())
    assert "gold" not in told.replace("gold-", "")
    hidden = {rule for rules in world.hidden_rules.values() for rule in rules}
    assert not hidden & set(find_rules(told))


@pytest.mark.parametrize("name", ["support_desk", "newsroom"])
def test_the_desk_runs_the_program_as_the_program_runs(name):
    world = worlds.load(name, 1, n_train=3, n_val=1, n_test=1)
    lm = simulation.offline_lm(seed=4)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        program = world.with_prompts(world.perfect_prompts())
        ran = [dict(program(**example.inputs())) for example in world.trainset]
    rolling = Rolling(world, lm)
    assert [rolling.outputs(world.perfect_prompts(), example)[0] for example in world.trainset] == ran


@pytest.mark.parametrize("name", ["newsroom", "guilty_loop", "guilty_branch", "guilty_shared"])
def test_a_peer_that_walks_the_steps_itself_walks_those_of_the_program(name):
    world = world_of(name, 2)
    with at_desk(world, budget=10_000) as desk:
        peer = client.Desk({"desk": desk.address, "seed": 0})
        for case in peer.problem["train"][:4]:
            given = peer.problem["inputs"][case]
            fields, walked = dict(given), []
            for stage in peer.problem["stages"]:
                if peer.runs(stage, fields):
                    fields |= peer.take(stage, peer.prompts[stage["name"]], fields)
                    walked.append(stage["name"])
            [ran] = peer.roll_out(peer.prompts, [case])
            written = {name: value for name, value in fields.items() if name not in given}
            assert walked == [step["predictor"] for step in ran["steps"]]
            assert peer.judge(case, written)["score"] == ran["score"]


def test_a_reply_with_a_rule_that_was_not_asked_for_is_noticed(world, monkeypatch):
    engine = CountingEngine("middle", 0, 10)
    lm = dspy.LM("offline/simulation", engine=engine, cache=False)
    lm("hello")
    assert engine.leaks == []
    said = 'If `claim` mentions "boat", set `category` to "travel".'
    response = dspy.lm15.Response(
        id="1", model="m", message=dspy.lm15.Message.assistant(said), finish_reason="stop", usage=dspy.lm15.Usage()
    )
    monkeypatch.setattr(simulation.SimulatedEngine, "complete", lambda self, request: response)
    lm("hello")
    assert len(engine.leaks) == 1


def test_a_peer_runs_within_its_budget_and_leaks_nothing(world):
    run = run_peer("dspy.GEPA", world, as_settings(world), profile="middle", seed=0, budget=90)
    assert run.failure == "" and run.leaks == ()
    assert run.lm_calls <= 90 and run.checkpoints and set(run.prompts) == set(world.hidden_rules)


@pytest.mark.parametrize("name", list(WORLDS))
def test_a_peer_makes_the_very_world_that_it_is_judged_on(name):
    world = world_of(name, 1)
    settings = dict(json.loads(json.dumps(as_settings(world))))
    again = worlds.load(**{**settings, "voice": worlds.Voice(**settings["voice"])})
    assert again.stages == world.stages and again.rounds == world.rounds
    assert [dict(e) for e in again.trainset] == [dict(e) for e in world.trainset]
    assert again.metric.voice == world.metric.voice and again.metric.exact == world.metric.exact


def test_every_peer_has_its_script():
    assert all((HERE / peer.script).exists() for peer in PEERS.values())


def test_the_suite_has_worlds_of_every_kind_and_its_scopes_give_way_to_flags():
    assert {stage for name in WORLDS for stage in world_of(name, 0).guilty}
    assert arguments(["--quick", "--seeds", "2"]).count("--seeds") == 1
    assert arguments(["--lm-calls", "9"]) == ["--lm-calls", "9"]


def test_a_correction_tells_who_is_to_blame_in_a_chain(tmp_path):
    rows = {
        way: credit_assignment(Cell(Config(prompts=4, batches=2), way, 1, tmp_path))
        for way in ("everyone", "trace", "replay")
    }
    assert rows["replay"]["exact"] == 1.0 > rows["trace"]["exact"]
    assert rows["everyone"]["hit"] == rows["everyone"]["sound_blamed"] == 1.0
    assert rows["trace"]["lm_calls"] == 0 < rows["replay"]["corrections"]
