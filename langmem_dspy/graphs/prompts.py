"""`optimize_prompts`: conversations and feedback become better prompts."""

from __future__ import annotations

from typing import Any

from langmem_dspy.functional import create_multi_prompt_optimizer, create_prompt_optimizer
from langmem_dspy.graphs.settings import Config, Input, Settings, read_input, read_settings
from langmem_dspy.optimizers.prompts import Prompt, as_prompt, as_prompts


async def prompts(input: Input, config: Config = None) -> dict[str, Any]:
    """{"prompts", "threads"} -> {"optimized_prompts": [Prompt, ...]}, the same under "updated_prompts", in their order.

    `prompts`: one as text, or a list of `Prompt`; of several, those to blame are found first. `threads`:
    (messages, feedback) pairs; without any, the prompts come back as they were given. In `config["configurable"]`
    stand `model`, `kind` ("gradient", "metaprompt" or "prompt_memory") and `options`, the optimizer's config.
    """
    given = read_input(input, "prompts", ("threads",))
    optimized = await _optimized(given["prompts"], given.get("threads"), read_settings(config))
    return {"optimized_prompts": optimized, "updated_prompts": optimized}


async def _optimized(given: Any, threads: Any, settings: Settings) -> list[Prompt]:
    several = [as_prompt(given)] if isinstance(given, str) else as_prompts(given)
    kind: Any = settings.kind or "gradient"
    if len(several) == 1:  # nobody else to blame
        optimize = create_prompt_optimizer(settings.model, kind=kind, config=settings.options)
        return [{**several[0], "prompt": await optimize.acall(threads, several[0])}]
    optimize_all = create_multi_prompt_optimizer(settings.model, kind=kind, config=settings.options)
    return list(await optimize_all.acall(threads, several))
