"""Does the simulated reviewer take up equally many rules from every library's own requests?

    python experiments/peers/parity.py --rounds 16

The guard against silent bias for anyone's protocol: each library is given the same prompt, cases and feedback, and asks
in its own way for one revision; what counts is how many rules of the feedback stand in it. `tests/simulation` holds the
retold requests to the same in CI; this holds the libraries themselves, in their environments. Who differs is not biased
by that alone: TextGrad asks once a case, and so takes up more for more requests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, pstdev

import cyclopts

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "tests" / "simulation")]

from peer_styles import STYLES, Evidence, rules_taken  # noqa: E402
from peers.desk import CountingEngine  # noqa: E402
from peers.environments import python_of  # noqa: E402
from peers.running import PEERS  # noqa: E402
from test_parity import evidence  # noqa: E402

from langmem_dspy import simulation  # noqa: E402
from langmem_dspy.simulation.parsing import find_rules  # noqa: E402

FOREIGN = [name for name, peer in PEERS.items() if peer.environment != "dspy"]


def asked_of(name: str, bodies: list[Evidence], profile: str) -> tuple[list[str], int]:
    """What the library makes of each prompt, and how many requests all of them took."""
    peer, engine = PEERS[name], CountingEngine(profile, 0, 10**9)
    with simulation.Endpoint(engine) as endpoint:
        told = {
            "parity": [asdict(body) for body in bodies],
            "api_base": endpoint.api_base,
            "model": endpoint.model.removeprefix("openai/"),
            "kind": peer.kind,
            "seed": 0,
        }
        command = [str(python_of(peer.environment)), str(HERE / peer.script), json.dumps(told)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1]), engine.lm_calls


def main(*, rounds: int = 16, each: int = 2, cases: int = 6, profile: str = "middle") -> None:
    """Print how many rules each library's request made the reviewer take up, and how far that is from the mean.

    Parameters
    ----------
    rounds
        Revisions asked of each.
    each
        Rules in the feedback on a case.
    cases
        Cases in a request.
    profile
        Of the simulated model.
    """
    bodies = [evidence(seed, each, cases)[0] for seed in range(rounds)]
    counts: dict[str, list[int]] = {}
    asked: dict[str, int] = {}
    for name in FOREIGN:
        answers, asked[name] = asked_of(name, bodies, profile)
        counts[name] = [len(rules_taken(a, b, find_rules)) for a, b in zip(answers, bodies, strict=True)]
    for name, style in STYLES.items():
        lm = [simulation.offline_lm(profile, seed) for seed in range(rounds)]
        answers = [style(one, body) for one, body in zip(lm, bodies, strict=True)]  # type: ignore[operator]
        counts[f"{name} (in this process)"] = [
            len(rules_taken(a, b, find_rules)) for a, b in zip(answers, bodies, strict=True)
        ]
    everyone = [count for found in counts.values() for count in found]
    middle, tolerance = fmean(everyone), max(0.1 * fmean(everyone), 3 * pstdev(everyone) / rounds**0.5)
    print(f"simulation {simulation.fingerprint()}, profile {profile}: mean {middle:.2f}, tolerance {tolerance:.2f}")
    for name, found in counts.items():
        verdict = "" if abs(fmean(found) - middle) <= tolerance else "  differs"
        requests = f"{asked[name] / rounds:4.1f} requests" if name in asked else ""
        print(f"{name:40} {fmean(found):5.2f}  {requests}{verdict}")


if __name__ == "__main__":
    cyclopts.run(main)
