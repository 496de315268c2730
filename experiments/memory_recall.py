"""Is what answers a question found again, and what does that cost beside reading everything?

Hypothesis: hybrid search with a small local model finds most of the turns that answer a question among the first 20, at
a few percent of the tokens of the full context; questions that need several turns, and those that need knowledge of the
world, are found worst. Baseline: `no_memory`, which finds nothing; the other end is `full_context`, which reads all.

    langmem-dspy run experiments/memory_recall.py --data locomo.json
    langmem-dspy run experiments/memory_recall.py --data locomo.json --model openai/gpt-4.1-mini --questions 50
    langmem-dspy run experiments/memory_recall.py --data locomo.json --model openai/gpt-4.1-mini --memories extracted

The data is LoCoMo (Maharana et al., 2024, arXiv:2402.17753), given by its path and never shipped. A seed is one of its
conversations. What is fixed in the store was chosen on the first three (`--part tuned_on`); the table is of the others.
One item for each turn, or each memory extracted from a session; one namespace for each conversation; every question
asked as it stands. Recall@k: the share of a question's evidence turns among the first k items, averaged over questions.
With --model every variant answers the questions from the 20 items it found (`full_context` from all, `no_memory` from
nothing); `f1` is LoCoMo's own score of the answers, `f1_*` that of each category. No model judges anything.

Cost: no LM calls without --model, about a minute for the local embedder (the extra `local`). With it one call a
question and variant (about 200 questions a conversation; full context has some 20,000 tokens each time), and with
`--memories extracted` one a session besides, a few dozen for each conversation.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal, TypeVar

import dspy
from locomo import CATEGORIES, Conversation, Question, read
from locomo_answers import answered

from langmem_dspy import FaissStore, MemoryManager, MemoryStoreManager
from langmem_dspy.errors import InputError
from langmem_dspy.experimenting import Cell, Row, experiment
from langmem_dspy.records import Provenance, PutOp, SearchItem

CUTS = (5, 10, 20)
TUNED_ON = 3  # conversations, from the first
BYTES_A_TOKEN = 4

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is stored, and who answers.

    Parameters
    ----------
    data
        LoCoMo's JSON file.
    part
        Conversations that settings were chosen on, or those that the table is of.
    memories
        Store every turn as it stands, or what --model extracts from each session.
    questions
        Ask only the first so many of each conversation.
    model
        Model that answers, as dspy.LM takes it. Without one only the search is measured.
    api_base
        Address of an OpenAI-compatible endpoint.
    num_threads
        Questions answered at the same time.
    """

    data: Path
    part: Literal["tuned_on", "report"] = "report"
    memories: Literal["turns", "extracted"] = "turns"
    questions: int | None = None
    model: str | None = None
    api_base: str | None = None
    num_threads: int = 8


@dataclass(frozen=True)
class Context:
    """What a variant hands to whoever answers: texts, best first, and the turns they stand for, "" if unknown."""

    texts: Sequence[str]
    turns: Sequence[str]


@experiment(
    Config,
    variants=("no_memory", "full_context", "lexical", "local", "hybrid"),
    baseline="no_memory",
    score="recall_10",
    seeds=2,
    measured=("search_ms", "store_s"),
    columns=("recall_5", "recall_10", "recall_20", "tokens", "f1", *(f"f1_{name}" for name in CATEGORIES.values())),
)
def memory_recall(cell: Cell[Config]) -> Row:
    """One conversation: remember it, ask every question, count what came back."""
    config = cell.config
    talk = _chosen(config, cell.seed)
    lm = dspy.LM(config.model, **({"api_base": config.api_base} if config.api_base else {})) if config.model else None
    started = time.perf_counter()
    recall = _way(cell.variant, talk, config, lm)
    stored, asked = time.perf_counter() - started, talk.questions[: config.questions]
    started = time.perf_counter()
    contexts = [recall(question.text) for question in asked]
    searched = time.perf_counter() - started
    found = [
        [_share(context.turns[:k], question) for k in CUTS] for context, question in zip(contexts, asked, strict=True)
    ]
    if cell.variant == "full_context":
        found = [[1.0] * len(CUTS) for _ in asked]
    by_category = _by_category(asked, found)
    _write(cell.folder / "recall_by_category.csv", by_category)
    row: dict[str, float | int | None] = {f"recall_{k}": fmean(r[i] for r in found) for i, k in enumerate(CUTS)}
    row |= {f"{name}_10": fmean(r[1] for r in of) if of else None for name, of in by_category.items()}
    tokens = [sum(len(text.encode()) for text in context.texts) / BYTES_A_TOKEN for context in contexts]
    row |= {"tokens": round(fmean(tokens)), "questions": len(asked)}
    row |= {"search_ms": searched / len(asked) * 1e3, "store_s": stored}
    return row if lm is None else row | _answers(lm, talk, asked, contexts, config.num_threads)


def _answers(
    lm: dspy.LM, talk: Conversation, asked: Sequence[Question], contexts: Sequence[Context], num_threads: int
) -> dict[str, float | int | None]:
    """The score of the answers, whole and by category."""
    # What is remembered is told with its day: many questions ask for one.
    days = {turn.id: turn.said_at for turn in talk.turns}
    told = [
        [f"({days[turn]}) {text}" if turn in days else text for text, turn in zip(c.texts, c.turns, strict=True)]
        for c in contexts
    ]
    scores = answered(lm, asked, told, num_threads)
    by_category = _by_category(asked, scores)
    row: dict[str, float | int | None] = {"f1": fmean(scores)}
    return row | {f"f1_{name}": fmean(of) if of else None for name, of in by_category.items()}


def _chosen(config: Config, seed: int) -> Conversation:
    talks = read(config.data)
    part = talks[:TUNED_ON] if config.part == "tuned_on" else talks[TUNED_ON:]
    if not 0 <= seed < len(part):
        raise InputError(
            f"a seed is a conversation, and {config.data} has {len(part)} to {config.part}: 0 to {len(part) - 1}"
        )
    return part[seed]


def _way(variant: str, talk: Conversation, config: Config, lm: dspy.LM | None) -> Callable[[str], Context]:
    """From a question to what the variant remembers for it."""
    if variant == "no_memory":
        return lambda question: Context((), ())
    if variant == "full_context":
        everything = Context([turn.text for turn in talk.turns], [turn.id for turn in talk.turns])
        return lambda question: everything
    mode: Literal["lexical", "dense", "hybrid"] = "dense" if variant == "local" else variant  # type: ignore[assignment]
    store = FaissStore(embedder="offline" if mode == "lexical" else "local")
    if config.memories == "turns":
        _store_turns(store, talk)
    else:
        _store_extracted(store, talk, lm)

    def recall(question: str) -> Context:
        items = store.search(("talk",), query=question, limit=max(CUTS), mode=mode)
        return Context([str(item.value["content"]) for item in items], [_turn_of(item) for item in items])

    return recall


def _store_turns(store: FaissStore, talk: Conversation) -> None:
    where = (Provenance(f"D{turn.session}", (turn.position,)) for turn in talk.turns)
    puts = zip(talk.turns, where, strict=True)
    store.batch([PutOp(("talk",), turn.id, {"content": turn.text}, provenance=come_from) for turn, come_from in puts])


def _store_extracted(store: FaissStore, talk: Conversation, lm: dspy.LM | None) -> None:
    """One request a session; a memory stands for the turn that shares most words with it."""
    if lm is None:
        raise InputError("--memories extracted needs --model: a model extracts them")
    manager = MemoryStoreManager(MemoryManager(), store, namespace=("talk",))
    with dspy.context(lm=lm):
        for session in dict.fromkeys(turn.session for turn in talk.turns):
            said = [turn for turn in talk.turns if turn.session == session]
            day = {"role": "system", "content": f"This conversation took place at {said[0].said_at}."}
            spoken = [{"role": "user", "content": turn.text} for turn in said]
            manager(messages=[*spoken, day], thread_id=f"D{session}")


def _turn_of(item: SearchItem) -> str:
    where = item.provenance
    return f"{where.thread}:{where.messages[0] + 1}" if where and where.messages else ""


def _share(turns: Iterable[str], question: Question) -> float:
    return len(question.evidence & set(turns)) / len(question.evidence)


def _by_category(asked: Sequence[Question], measured: Sequence[T]) -> dict[str, list[T]]:
    pairs = list(zip(asked, measured, strict=True))
    return {name: [m for question, m in pairs if question.category == name] for name in CATEGORIES.values()}


def _write(file: Path, by_category: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Recall at every cut, by category of question."""
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["category", "questions", *(f"recall_{k}" for k in CUTS)])
        for name, of in by_category.items():
            rows.writerow([name, len(of), *(round(fmean(r[i] for r in of), 4) if of else "" for i in range(len(CUTS)))])


if __name__ == "__main__":
    memory_recall.main()
