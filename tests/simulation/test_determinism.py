from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import dspy
import pytest
from dspy.lm15 import Config, Message, Request

from langmem_dspy import simulation
from langmem_dspy.simulation import Faults, SimulatedEngine, worlds
from langmem_dspy.simulation.chance import Chance


def requests() -> list[Request]:
    system = 'If `message` mentions "3", mention "three" in `reply`. End `reply` with "Bye".'
    return [Request(model="m", system=system, messages=(Message.user(f"message {i}"),)) for i in range(60)]


def outcome(engine: SimulatedEngine, request: Request) -> str:
    try:
        response = engine.complete(request)
    except dspy.lm15.LM15Error as error:
        return f"{type(error).__name__}"
    return f"{response.text} {response.finish_reason}"


@pytest.mark.parametrize("faults", [None, Faults(rate_limit=0.2, empty=0.1, truncated=0.2, malformed=0.1)])
def test_replies_do_not_depend_on_order_or_threads(faults):
    def engine():
        return SimulatedEngine("weak", 7, faults=faults)

    asked = requests()
    one_by_one = [outcome(single, r) for single in [engine()] for r in asked]
    shuffled = random.Random(1).sample(asked, len(asked))
    other = engine()
    in_disorder = {id(r): outcome(other, r) for r in shuffled}
    threaded = engine()
    with ThreadPoolExecutor(8) as pool:
        at_once = list(pool.map(lambda r: outcome(threaded, r), asked))
    assert one_by_one == [in_disorder[id(r)] for r in asked] == at_once
    assert len(set(one_by_one)) > 10


def test_async_and_sync_say_the_same():
    lm = simulation.offline_lm("weak")
    asked = [replace(r, model=lm.model) for r in requests()[:8]]

    async def all_of_them():
        return await asyncio.gather(*(lm.acall(r) for r in asked))

    assert [r.text for r in asyncio.run(all_of_them())] == [lm(r).text for r in asked]


def test_another_seed_or_temperature_is_another_sample():
    def misses(seed, temperature):
        engine = SimulatedEngine("weak", seed)
        return [engine.complete(replace(r, config=Config(temperature=temperature))).text for r in requests()]

    assert misses(0, 0.0) == misses(0, 0.0)
    assert misses(0, 0.0) != misses(1, 0.0)
    assert misses(0, 0.0) != misses(0, 1.0)


def test_the_models_name_and_limits_do_not_change_what_it_says():
    engine = SimulatedEngine("weak")
    for request in requests()[:10]:
        other = replace(request, model="other", config=Config(max_tokens=4000))
        assert engine.complete(request).text == engine.complete(other).text


def test_draws_are_even_and_independent_of_their_order():
    chance = Chance(0, "text")
    drawn = [chance.number("x", i) for i in range(2000)]
    assert 0.47 < sum(drawn) / len(drawn) < 0.53
    assert [chance.number("x", i) for i in reversed(range(2000))] == drawn[::-1]
    assert sorted(chance.shuffled(range(9), "s")) == list(range(9))


def test_a_world_of_one_seed_is_always_the_same():
    for name in worlds.names():
        first, second = worlds.load(name, 3), worlds.load(name, 3)
        assert first.stages == second.stages
        assert [e.toDict() for e in first.trainset] == [e.toDict() for e in second.trainset]
        said = dspy.Prediction(**{f: "x" for stage in first.stages for f in stage.outputs})
        judged = [world.metric(e, said) for world in (first, second) for e in world.trainset]
        half = len(judged) // 2
        assert [j.toDict() for j in judged[:half]] == [j.toDict() for j in judged[half:]]


def test_whole_runs_do_not_depend_on_the_number_of_threads():
    world = worlds.load("support_desk", 0, n_train=2, n_val=16, n_test=1)

    def scores(threads):
        lm = simulation.offline_lm("weak")
        with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
            evaluate = dspy.Evaluate(devset=world.valset, metric=world.metric, num_threads=threads)
            return [float(score.score) for _, _, score in evaluate(world.program()).results]

    assert scores(1) == scores(4)
