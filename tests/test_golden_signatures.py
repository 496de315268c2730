"""Every signature of the optimizers as a model reads it: a change of a prompt is a reviewed diff.

Run with UPDATE_GOLDEN=1 to write the files anew.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

import dspy
import pytest

import langmem_dspy

GOLDEN = Path(__file__).with_name("golden")


def signatures() -> dict[str, type[dspy.Signature]]:
    found = {}
    for room in ("optimizers", "memories"):
        package = importlib.import_module(f"langmem_dspy.{room}")
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, type) and issubclass(value, dspy.Signature) and value.__module__ == info.name:
                    found[f"{room}.{value.__name__}"] = value
    return found


@pytest.mark.parametrize("name", sorted(signatures()))
def test_a_signature_reads_as_it_was_reviewed(name):
    text = dspy.ChatAdapter().format_system_message(signatures()[name]) + "\n"
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.exists(), f"{golden.name} is new; write it with UPDATE_GOLDEN=1 and review it"
    assert text == golden.read_text(), "a prompt changed; review it, then write it with UPDATE_GOLDEN=1"


def test_no_golden_file_is_left_of_a_signature_that_is_gone():
    if not os.environ.get("UPDATE_GOLDEN"):
        assert {path.stem for path in GOLDEN.glob("*.txt")} == set(signatures())


def test_every_signature_has_instructions_of_its_own():
    assert all(signature.__doc__ and len(signature.instructions) > 40 for signature in signatures().values())
    assert langmem_dspy.__doc__
