"""Run by test_journal in a process of its own: one compile with a log_dir, its outcome printed as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import dspy
from programs import TwoSteps, examples, is_upper

from langmem_dspy.optimizers import MultiPromptOptimizer


def outcome(program: dspy.Module) -> str:
    results = program.detailed_results.to_dict()
    kept = {key: results[key] for key in ("candidates", "best_index", "credit", "stop_reason", "errors", "changed")}
    prompts = {name: predictor.signature.instructions for name, predictor in program.named_predictors()}
    return json.dumps({"prompts": prompts, **kept}, sort_keys=True)


def main(url: str, log_dir: str, threads: str) -> None:
    lm = dspy.LM("openai/some-model", api_base=url, api_key="x", cache=False, num_retries=0)
    dspy.configure(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False))
    optimizer = MultiPromptOptimizer(
        metric=is_upper, minibatch_size=3, max_steps=4, num_threads=int(threads), log_dir=log_dir or None
    )
    data = examples(6)
    program = optimizer.compile(TwoSteps(), trainset=data, valset=data)
    usage = program.detailed_results.usage
    print(outcome(program))
    print(json.dumps([usage.lm_calls, usage.total.journal_hits, usage.whole_run.lm_calls, usage.whole_run.tokens]))


if __name__ == "__main__":
    main(*sys.argv[1:])
