"""Versions of online learning in MLflow's prompt registry: aliases follow promotion and rollback."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from langmem_dspy import OnlineOptimizer, tracking
from langmem_dspy.simulation import offline_lm, worlds


def aliased(client: Any, predictor: str, alias: str) -> str:
    name = next(p.name for p in client.search_prompts() if p.name.endswith(f".{predictor}"))
    return str(client.get_prompt_version_by_alias(name, alias).template)


@pytest.mark.parametrize("auto_promote", [True, False])
def test_aliases_follow_promotion_and_rollback(store: str, auto_promote: bool) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    with tracking.enable() as tracked, dspy.context(lm=offline_lm("strong")):
        voice = worlds.Voice(bare=0, vague=0, wrong=0, silent=0)
        world = worlds.load("expense_office", seed=0, n_train=20, voice=voice)
        online = OnlineOptimizer(world.program(), every=3, controls=2, auto_promote=auto_promote)
        for example in world.trainset[:4]:
            run = online.run(**example.inputs())
            online.learn(run, world.metric(example, run.prediction).feedback)
        newest, own = online.versions()[-1], online.versions()[0]
        assert newest.number >= 1 and tracked.flush()
        assert aliased(client, "letter", "champion") == (newest if auto_promote else own).prompts["letter"]
        if not auto_promote:
            assert aliased(client, "letter", "candidate") == newest.prompts["letter"]
            online.promote(newest.number)
            assert tracked.flush() and aliased(client, "letter", "champion") == newest.prompts["letter"]
        online.rollback(0)
        assert tracked.flush()
        assert aliased(client, "letter", "champion") == own.prompts["letter"]
