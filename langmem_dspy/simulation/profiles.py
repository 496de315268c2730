"""How well the simulated model works: three profiles, and any other by its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from langmem_dspy.errors import InputError


@dataclass(frozen=True)
class Profile:
    """The ways a model fails, as probabilities unless said otherwise."""

    name: str
    # The worker.
    miss: float  # does not follow one rule of its prompt
    comfort: int  # rules in a prompt that it can hold at once
    distraction: float  # added to `miss` for each rule beyond that
    # The reviewer.
    takes: int  # rules it takes from raw evidence in one call, at most
    follows: int  # rules it writes down in one call when they are handed to it as conclusions, at most
    notice: float  # sees one rule that stands in the evidence
    overgeneralize: float  # takes what was right in one case as right in all
    misplace: float  # puts a rule into a prompt whose fields it is not about
    lose_line: float  # forgets one line of a prompt it rewrites
    lose_variable: float  # writes words in the place of one {variable}, unless told to keep it


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("weak", 0.06, 8, 0.015, 2, 5, 0.75, 0.5, 0.25, 0.05, 0.12),
        Profile("middle", 0.004, 12, 0.004, 3, 8, 0.9, 0.2, 0.1, 0.012, 0.08),
        Profile("strong", 0.0, 24, 0.001, 5, 12, 0.98, 0.02, 0.01, 0.002, 0.01),
    )
}


def find_profile(name: str | Profile) -> Profile:
    """The profile of this name. Raises `InputError` for a name there is none of."""
    if isinstance(name, Profile):
        return name
    if name not in PROFILES:
        raise InputError(f"no profile is named {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]
