"""Prompts in programs named on the command line: saved as JSON, or module:object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmem_dspy.cli.loading import load_program
from langmem_dspy.errors import InputError
from langmem_dspy.optimizers.prompts import prompt_texts, with_prompts

if TYPE_CHECKING:
    import dspy

    from langmem_dspy.tracking import PromptVersions


def prompts_of(source: str) -> dspy.Module | dict[str, str]:
    """A program as it is; of a file, the texts by predictor."""
    if _is_object(source):
        return load_program(source)
    return _texts(_read(Path(source)), source)


def read_side(source: str, other: str, registry: PromptVersions) -> dict[str, str]:
    """Texts of one side of a diff, by predictor if either side is a program, else by their names in the registry."""
    if _is_program(source):
        return _by_predictor(source)
    if _is_program(other):
        return registry.texts_for(_by_predictor(other), source)
    pulled = registry.pull(source)
    return {prompt: version.text for prompt, version in pulled.items()}


def write_prompts(into: str, texts_for: Callable[[Iterable[str]], Mapping[str, str]], out: Path) -> list[str]:
    """Write `into` to `out` with other prompts: `texts_for` its predictors. Returns those that changed."""
    if _is_object(into):
        program = load_program(into)
        before = prompt_texts(program)
        texts = {**before, **texts_for(before)}
        with_prompts(program, texts).save(out)
    else:
        state = _read(Path(into))
        before = _texts(state, into)
        texts = {**before, **texts_for(before)}
        for predictor, text in texts.items():
            if isinstance(state[predictor], str):
                state[predictor] = text
            else:
                state[predictor]["signature"]["instructions"] = text
        out.write_text(json.dumps(state, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [predictor for predictor, text in texts.items() if text != before[predictor]]


def _by_predictor(source: str) -> dict[str, str]:
    found = prompts_of(source)
    return found if isinstance(found, dict) else prompt_texts(found)


def _is_object(source: str) -> bool:
    return ":" in source and not Path(source).exists()


def _is_program(source: str) -> bool:
    return _is_object(source) or Path(source).is_file() or source.endswith(".json")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"there is no file {path}; give a program saved as JSON, or module:object")
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}; save the program with program.save('p.json')") from None
    if not isinstance(state, dict):
        raise InputError(f"{path} holds a {type(state).__name__}, not the state of a program")
    return state


def _texts(state: Mapping[str, Any], source: str) -> dict[str, str]:
    """The instructions in a DSPy state, or the texts themselves."""
    texts: dict[str, str] = {}
    for predictor, held in state.items():
        if isinstance(held, str):
            texts[predictor] = held
        elif isinstance(held, Mapping) and isinstance(held.get("signature"), Mapping):
            texts[predictor] = str(held["signature"].get("instructions", ""))
    if not texts:
        raise InputError(f"{source} holds no predictors; save the program with program.save('p.json')")
    return texts
