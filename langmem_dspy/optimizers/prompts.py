"""A prompt as a value: read from a program, written to a copy of it, and checked so that no revision breaks it."""

from __future__ import annotations

import copy
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

import dspy

from langmem_dspy.errors import InputError, PromptError
from langmem_dspy.optimizers.parts import write_parts
from langmem_dspy.replies import as_lm


class _Named(TypedDict):
    name: str
    prompt: str


class Prompt(_Named, total=False):
    """A prompt with a name, and what its owner says about changing it (LangMem's four fields)."""

    when_to_update: str | None
    update_instructions: str | None


GUIDANCE_KEYS = ("when_to_update", "update_instructions")
_KEYS = ("name", "prompt", *GUIDANCE_KEYS)

# What a formatter fills in: a Python name, with attributes, items, conversion and format spec, or nothing at all.
_FIELD = re.compile(r"(?:[^\W\d]\w*|\d*)(?:\.\w+|\[[^\[\]{}]*\])*")
_VARIABLE = re.compile(r"(?<!\{)\{(" + _FIELD.pattern + r")(![rsa])?(:[^{}]*)?\}(?!\})")
_LITERAL = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_WRAPPINGS = (
    ("```", re.compile(r"```[\w-]*\n(?P<text>.*?)\n?```", re.DOTALL)),
    ("<", re.compile(r"<(?P<tag>(?:improved_|revised_|updated_)?prompt)>\n?(?P<text>.*?)\n?</(?P=tag)>", re.DOTALL)),
)
_FROZEN = re.compile(r"\s*never\b(?!,?\s+(?:unless|except)\b)", re.IGNORECASE)
_NOT_A_PROMPT = {
    "", "none", "null", "n/a", "na", "nil", "nan", "undefined", "unchanged", "same", "same as before",
    "no change", "no changes", "no change needed", "no changes needed", "no change is warranted", "keep as is",
}  # fmt: skip


def as_prompt(value: str | Mapping[str, Any], name: str = "prompt") -> Prompt:
    """`value` as a Prompt; text alone gets `name`. Raises `PromptError` for anything else."""
    if isinstance(value, str):
        return Prompt(name=name, prompt=_checked_text(value, name))
    if not isinstance(value, Mapping):
        raise PromptError(f"a prompt is text or a dict with 'prompt' in it, got {type(value).__name__} {value!r}")
    if unknown := sorted(map(str, set(value) - set(_KEYS))):
        raise PromptError(f"a prompt has the keys {', '.join(_KEYS)}; got also {', '.join(unknown)}")
    if not isinstance(value.get("prompt"), str):
        raise PromptError(f"the prompt {value.get('name', name)!r} needs its text under 'prompt', got {value!r}")
    given_name = value.get("name") or name
    if not isinstance(given_name, str):
        raise PromptError(f"a prompt's name is text, got {given_name!r}")
    guidance = {key: _guidance_text(value[key], given_name, key) for key in GUIDANCE_KEYS if key in value}
    return Prompt(name=given_name, prompt=_checked_text(value["prompt"], given_name), **guidance)  # type: ignore[typeddict-item]


def is_frozen(prompt: Prompt) -> bool:
    """Whether its owner said that it never changes: `when_to_update` begins with "never" (and not "never unless")."""
    return bool(_FROZEN.match(prompt.get("when_to_update") or ""))


def as_prompts(values: Iterable[str | Mapping[str, Any]]) -> list[Prompt]:
    """All of them as Prompts with distinct names. Raises `PromptError` for a name that occurs twice."""
    if isinstance(values, str | Mapping):
        raise PromptError(f"prompts is a list of prompts, got a single {type(values).__name__}; put it in a list")
    prompts = [as_prompt(value, f"prompt_{i + 1}") for i, value in enumerate(values)]
    twice = sorted(name for name, count in Counter(p["name"] for p in prompts).items() if count > 1)
    if twice:
        raise PromptError(f"prompt names must differ, as credit is assigned by name; given twice: {', '.join(twice)}")
    return prompts


def _guidance_text(value: Any, name: str, key: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise PromptError(f"{key} of the prompt {name!r} is text or None, got {type(value).__name__} {value!r}")
    return None if value is None else _checked_text(value, f"{name}.{key}")


def _checked_text(text: str, name: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(
            f"the text of {name!r} holds a lone surrogate at position {error.start}, which no model can be sent; "
            "repair it with text.encode('utf-8', 'replace').decode('utf-8')"
        ) from None
    return text


# --- a program's prompts ---


def read_prompts(program: dspy.Module, guidance: Mapping[str, Mapping[str, str]] | None = None) -> list[Prompt]:
    """The instructions of every predictor, in the program's order, with the guidance given for them.

    Raises `InputError` for a program without predictors and for guidance about predictors that do not exist.
    """
    if not isinstance(program, dspy.Module):
        raise InputError(f"student must be a dspy.Module, got {type(program).__name__}")
    predictors = program.named_predictors()
    if not predictors:
        raise InputError(
            f"{type(program).__name__} has no predictors to optimize; give it a dspy.Predict, and unset `_compiled` "
            "of sub-modules that should be changed"
        )
    guidance = _checked_guidance(guidance or {}, [name for name, _ in predictors])
    return [Prompt(name=n, prompt=p.signature.instructions, **guidance.get(n, {})) for n, p in predictors]  # type: ignore[typeddict-item]


def prompt_texts(program: dspy.Module) -> dict[str, str]:
    """The instructions by predictor. Raises as `read_prompts` does."""
    return {prompt["name"]: prompt["prompt"] for prompt in read_prompts(program)}


def task_models(program: dspy.Module) -> str:
    """The names of the models that its predictors ask: their own, else the configured one."""
    own = {predictor.lm for predictor in program.predictors()}
    return ", ".join(sorted({(lm or as_lm(None)).model for lm in own}))


def outline(program: dspy.Module) -> str:
    """How the predictors of a program fit together, as far as their names and fields tell."""
    lines = [f"{type(program).__name__} runs these predictors, each with a prompt of its own:"]
    for name, predictor in program.named_predictors():
        fields = predictor.signature
        lines.append(f"- {name}: {', '.join(fields.input_fields)} -> {', '.join(fields.output_fields)}")
    return "\n".join(lines)


def _checked_guidance(guidance: Mapping[str, Mapping[str, str]], names: list[str]) -> Mapping[str, Mapping[str, str]]:
    if not isinstance(guidance, Mapping) or not all(isinstance(entry, Mapping) for entry in guidance.values()):
        raise InputError("guidance is {predictor name: {'when_to_update': ..., 'update_instructions': ...}}")
    if unknown := sorted(set(guidance) - set(names)):
        raise InputError(f"guidance names no predictor of the student: {unknown}; its predictors are {names}")
    for name, entry in guidance.items():
        if wrong := sorted(set(entry) - set(GUIDANCE_KEYS)):
            raise InputError(f"guidance for {name!r} has the unknown keys {wrong}; use {list(GUIDANCE_KEYS)}")
        for key, value in entry.items():
            _guidance_text(value, name, key)
    return guidance


def with_prompts(
    program: dspy.Module, texts: Mapping[str, str], replacing: Mapping[int, Any] | None = None
) -> dspy.Module:
    """A deepcopy of `program` with these instructions. The original is never touched.

    LMs are shared, not forked; `replacing` maps the id of an object the program holds to what the copy gets instead.
    """
    shared = {id(lm): lm for lm in held_resources(program, dspy.BaseLM)}
    copied = _deepcopy(program, {**shared, **(replacing or {})})
    for (_, module), (_, original) in zip(copied.named_sub_modules(), program.named_sub_modules(), strict=True):
        module.callbacks = list(original.callbacks)  # DSPy leaves them out of a copy
    for name, predictor in copied.named_predictors():
        if name in texts and predictor.signature.instructions != texts[name]:
            # with_instructions, since deepcopy shares Signature classes: assigning would change the original too.
            predictor.signature = predictor.signature.with_instructions(texts[name])
    write_parts(copied, texts)
    return copied


def answers_once(predictor: dspy.Predict, outputs: Mapping[str, Any]) -> None:
    """Let the predictor's first answer be this one."""

    def forward(**kwargs: Any) -> dspy.Prediction:
        del predictor.forward  # from the next call on it is the class's own again
        return dspy.Prediction(**outputs)

    predictor.forward = forward


def held_resources(program: dspy.Module, kind: type | tuple[type, ...]) -> list[Any]:
    """Every object of `kind` that the program or one of its sub-modules holds, in lists and dicts too."""
    found: dict[int, Any] = {}
    for value in _held(program):
        if isinstance(value, kind):
            found[id(value)] = value
    return list(found.values())


def _held(program: dspy.Module) -> Iterator[Any]:
    """Everything that hangs on the attributes of a program, through its modules and plain containers."""
    waiting, seen = [program], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dspy.Module):
            waiting += [held for name, held in vars(value).items() if name not in ("history", "callbacks")]
        elif isinstance(value, dspy.Tool):
            waiting += vars(getattr(value.func, "__self__", None) or object).values()  # what a bound method works on
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value


def _deepcopy(program: dspy.Module, replacing: Mapping[int, Any]) -> dspy.Module:
    try:
        return copy.deepcopy(program, dict(replacing))
    except Exception:  # noqa: BLE001 - some attribute cannot be copied: a lock, a client, an open file
        plain = dspy.Module, dict, list, tuple, set, frozenset
        held = (value for value in _held(program) if not isinstance(value, plain))
        stuck = {id(value): value for value in held if not _can_be_copied(value, replacing)}
        return copy.deepcopy(program, {**stuck, **replacing})


def _can_be_copied(value: Any, memo: Mapping[int, Any]) -> bool:
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:  # noqa: BLE001 - see above
        return False
    return True


# --- what a revision must keep ---


def variables(text: str) -> set[str]:
    """The `{variables}` of a template, verbatim with their braces. JSON's braces are text, not variables.

    `string.Formatter` decides where the text is a template it can read; elsewhere each brace pair is judged alone.
    """
    try:
        parsed = [(name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(text)]
    except ValueError:
        return {match.group(0) for match in _VARIABLE.finditer(text)}
    found = set()
    for name, spec, conversion in parsed:
        if name is not None and _FIELD.fullmatch(name):
            found.add("{" + name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}")
        elif spec:
            found |= variables(spec)  # a JSON object is read as a field with a "format"; variables may stand in it
    return found


def literals(text: str) -> set[str]:
    """The `{{literal}}` spans of a template, verbatim."""
    return set(_LITERAL.findall(text))


def kept_verbatim(text: str) -> list[str]:
    """Everything in `text` that a revision has to carry over as it is."""
    return sorted(variables(text) | literals(text))


def broken_by(before: str, after: str) -> list[str]:
    """What makes `after` unfit to replace `before`, as sentences a model can act on; empty when it is fit."""
    if before == after:
        return []
    if after.strip().strip("\"'`.<>()[]{}*").lower() in _NOT_A_PROMPT:
        return ["The revised prompt is empty."]
    if not _is_sendable(after):
        return ["The revised prompt holds half a character (a lone surrogate)."]
    problems = [f"{item} is missing; it must appear exactly as written." for item in _lost(before, after)]
    problems += [f"{item} was not in the prompt; write it without braces." for item in _lost(after, before)]
    if kept_verbatim(before) and _is_template(before) and not _is_template(after):
        problems.append("A brace is unbalanced, so the template can no longer be filled; double literal braces.")
    return problems


def _lost(before: str, after: str) -> list[str]:
    return sorted((variables(before) - variables(after)) | (literals(before) - literals(after)))


def _is_template(text: str) -> bool:
    try:
        list(string.Formatter().parse(text))
    except ValueError:
        return False
    return True


def _is_sendable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def unwrapped(answer: str, before: str) -> str:
    """A model's answer without a code fence or tags around the whole of it, unless `before` begins with such."""
    text = answer.strip()
    for start, pattern in _WRAPPINGS:
        if not before.lstrip().startswith(start) and (match := pattern.fullmatch(text)):
            text = match.group("text").strip()
    return text
