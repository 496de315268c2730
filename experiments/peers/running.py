"""A peer's run: its script in its environment, at a desk of its own, until it is done or the budget is spent."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from peers.desk import Checkpoint, CountingEngine, Desk
from peers.environments import OURS, python_of

from langmem_dspy.simulation.worlds import World

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A peer's optimizer: the environment and script that run it, and the `kind` the script is told."""

    environment: str
    script: str
    kind: str = ""


PEERS: dict[str, Peer] = {
    "langmem gradient": Peer("langmem", "run_langmem.py", "gradient"),
    "langmem metaprompt": Peer("langmem", "run_langmem.py", "metaprompt"),
    "langmem prompt_memory": Peer("langmem", "run_langmem.py", "prompt_memory"),
    "langmem multi_prompt": Peer("langmem", "run_langmem.py", "multi_prompt"),
    "dspy.GEPA": Peer(OURS, "run_gepa.py"),
    "dspy.MIPROv2": Peer(OURS, "run_miprov2.py"),
    "dspy.SIMBA": Peer(OURS, "run_simba.py"),
    "dspy.COPRO": Peer(OURS, "run_copro.py"),
    "textgrad": Peer("textgrad", "run_textgrad.py"),
    "trace": Peer("trace", "run_trace.py"),
}


@dataclass(frozen=True)
class PeerRun:
    """What became of it. `prompts`: those reported last, else the ones to start from; `leaks` must be empty."""

    prompts: Mapping[str, str]
    checkpoints: tuple[Checkpoint, ...]
    lm_calls: int
    tokens: int
    seconds: float
    leaks: tuple[str, ...]
    failure: str = ""


def run_peer(
    name: str, world: World, settings: Mapping[str, object], *, profile: str, seed: int, budget: int
) -> PeerRun:
    """Run the peer `name` on `world`. `settings`: how the script makes the world anew, where it runs it itself."""
    peer = PEERS[name]
    engine = CountingEngine(profile, seed, budget)
    started = time.monotonic()
    with Desk(world, engine) as desk:
        told = {
            "desk": desk.address,
            "api_base": desk.model.api_base,
            "model": desk.model.model.removeprefix("openai/"),
            "kind": peer.kind,
            "seed": seed,
            "budget": budget,
            "world": dict(settings),
        }
        command = ["nice", str(python_of(peer.environment)), str(HERE / peer.script), json.dumps(told)]
        done = subprocess.run(command, capture_output=True, text=True)
        checkpoints = tuple(desk.checkpoints)
        start = desk.problem()["prompts"]
    return PeerRun(
        prompts=checkpoints[-1].prompts if checkpoints else start,
        checkpoints=checkpoints,
        lm_calls=engine.lm_calls,
        tokens=engine.tokens,
        seconds=time.monotonic() - started,
        leaks=tuple(engine.leaks),
        failure=done.stderr[-2000:] if done.returncode else "",
    )


def as_settings(world: World) -> dict[str, object]:
    """What `worlds.load` needs to make `world` anew in another process."""
    sizes = {"n_train": len(world.trainset), "n_val": len(world.valset), "n_test": len(world.testset)}
    judge = world.metric
    return {
        "name": world.name,
        "seed": world.seed,
        "exact": judge.exact,
        "voice": asdict(judge.voice),
        **sizes,
        **world.settings,
    }
