"""What one prompt update costs: LM calls and prompt tokens of `create_prompt_optimizer`, per kind.

    python benchmarks/update_cost.py

20 conversations of about 450 tokens each, with feedback, and one prompt of about 120 tokens. The model is a stand-in
that gives a typical reply: it finds two things to change and rewrites the prompt. Tokens are counted over the whole
text of every request by tiktoken's cl100k_base as LiteLLM bundles it, or by UTF-8 bytes / 4 where it is not installed;
the first line says which. LangMem's figures, on input of this size, are the reference that the goals were set by.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, Usage

from langmem_dspy.functional import create_prompt_optimizer

LANGMEM = {"gradient": (4, 29_800), "metaprompt": (5, 48_500), "prompt_memory": (1, 8_300)}
GOALS = {"gradient": (2, 1 / 2), "metaprompt": (1, 1 / 4), "prompt_memory": (1, None)}

PROMPT = """You are the support desk of a web shop. Read the customer's message and answer it.
Address the customer as {customer}. Look at the order below before you say anything about it.
Be brief and friendly, say what happens next, and by when. Do not promise a refund that the rules do not allow.
If you do not know the answer, say so, and hand the case over to a colleague with a short summary of the case.
Never ask for a password or the whole number of a card. Answer in the language of the customer.
Order: {order}"""

SENTENCES = """I ordered the blue lamp two weeks ago and it has not arrived at my door yet.
The tracking page has been showing the same place since last Monday, which worries me a little.
Thank you for your message, I am sorry that your parcel is taking longer than we promised you.
I have looked at your order and I can see that it left our warehouse on the third of the month.
Could you please tell me whether I can still change the address of the delivery for this order?
The box was open when I got it and one of the two cables that should be in there was missing.
I can send you a new one today, and it should be with you within three working days from now.
Please keep the parcel as it is until our colleague from the warehouse has looked at the pictures.
Is there anything else about this order or about your account that I can help you with today?
I would rather have my money back than wait for another week, if that is possible at all.""".splitlines()

FEEDBACK = [
    "Should have named the date of delivery.",
    "Too long; the customer asked one thing only.",
    "Good answer, but it did not offer the refund that the rules allow after 14 days.",
    "",
]


def token_counter() -> tuple[str, Callable[[str], int]]:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # LiteLLM asks the network for prices otherwise
    try:
        from litellm import encoding
    except ImportError:
        return "UTF-8 bytes / 4", lambda text: len(text.encode()) // 4
    return "cl100k_base", lambda text: len(encoding.encode(text, disallowed_special=()))


def conversations(count: Callable[[str], int], tokens: int = 450) -> list[tuple[list[dict[str, str]], str]]:
    rng = random.Random(0)
    found = []
    for i in range(20):
        messages: list[dict[str, str]] = []
        while sum(count(m["content"]) for m in messages) < tokens - 25:
            said = " ".join(rng.sample(SENTENCES, 3))
            messages.append({"role": "assistant" if len(messages) % 2 else "user", "content": said})
        found.append((messages, FEEDBACK[i % len(FEEDBACK)]))
    return found


class TypicalModel:
    """An engine that answers the fields asked for as a model would, and counts what it is sent."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self.count, self.tokens = count, 0

    def complete(self, request: Request) -> Response:
        system = request.system if isinstance(request.system, str) else ""
        text = system + "".join(message.text or "" for message in request.messages)
        self.tokens += self.count(text)
        asked = text.rsplit("Respond with the corresponding output fields", 1)[-1]
        replies = {
            "analysis": "Answers often leave out the date of delivery, and are longer than the question needs.",
            "reflection": "Answers often leave out the date of delivery, and are longer than the question needs.",
            "recommendations": '["Name the date of delivery.", "Offer a refund after 14 days."]',
            "change_warranted": "True",
            "improved_prompt": f"{PROMPT}\nName the date of delivery. Offer a refund after 14 days.",
        }
        fields = [f"[[ ## {name} ## ]]\n{value}" for name, value in replies.items() if f"[[ ## {name} ## ]]" in asked]
        reply = "\n\n".join([*fields, "[[ ## completed ## ]]"])
        return Response(None, request.model, Message.assistant(reply), "stop", Usage(0, 0))


def measure(kind: Any, talks: list[Any], count: Callable[[str], int]) -> tuple[int, int]:
    engine = TypicalModel(count)
    optimize = create_prompt_optimizer(dspy.LM("stand-in/typical", engine=engine, cache=False), kind=kind)
    assert optimize(talks, PROMPT) != PROMPT
    assert optimize.last_usage is not None
    return optimize.last_usage.lm_calls, engine.tokens


def main() -> None:
    rule, count = token_counter()
    talks = conversations(count)
    sizes = [sum(count(message["content"]) for message in messages) for messages, _ in talks]
    print(f"20 conversations of {sum(sizes) / 20:.0f} tokens on average, a prompt of {count(PROMPT)}; tokens: {rule}")
    print(f"{'kind':<14} {'calls':>5} {'prompt tokens':>14}   {'LangMem':>14} {'share':>6}   goal")
    for kind, (calls_there, tokens_there) in LANGMEM.items():
        calls, tokens = measure(kind, talks, count)
        most, share = GOALS[kind]
        met = calls <= most and (share is None or tokens <= share * tokens_there)
        goal = f"<= {most} calls" + (f", {share:.0%} of the tokens" if share else ", nothing left out")
        there = f"{calls_there} / {tokens_there:,}"
        verdict = "met" if met else "MISSED"
        share_here = tokens / tokens_there
        print(f"{kind:<14} {calls:>5} {tokens:>14,}   {there:>14} {share_here:>6.0%}   {goal}: {verdict}")


if __name__ == "__main__":
    main()
