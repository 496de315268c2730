"""report.html: one run told to a person, in one file that needs nothing else."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterable, Mapping
from importlib.resources import files

from langmem_dspy.optimizers.results import DetailedResults
from langmem_dspy.optimizers.showing import cautions
from langmem_dspy.tracking.charts import heat_map, score_chart
from langmem_dspy.tracking.diffs import diff_html
from langmem_dspy.tracking.examples import ExampleRow
from langmem_dspy.tracking.history import RunHistory


def report_html(history: RunHistory) -> str:
    """The whole page; a run that left no results is told as far as it came."""
    results = history.detailed
    title = html.escape(f"{history.started['optimizer']} · {history.run_id}")
    parts = [
        _headline(history),
        _section("Score over steps", score_chart(history.best_curve, history.steps)),
        _prompts(results) if results else "",
        _section("Who was blamed, step by step", heat_map(history.credit, list(history.started.get("prompts") or {}))),
        *(_examples(split, rows) for split, rows in history.examples.items()),
        _candidates(results) if results else _steps(history),
        _section("To know before believing these figures", _cautions(results)) if results else "",
        _section("Faults", _faults(results)) if results else "",
        _section("Settings", _settings(history)),
    ]
    style = files("langmem_dspy.tracking").joinpath("report.css").read_text(encoding="utf-8")
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )
    return page.encode("utf-8", "replace").decode()


def _headline(history: RunHistory) -> str:
    results, finished = history.detailed, history.finished
    before, after = history.score_before, history.score_after
    gain = "" if before is None or after is None else f'<span class="gain">{after - before:+.3f}</span>'
    facts = {
        "stopped": finished.get("stop_reason", "still under way"),
        "LM calls": f"{results.usage.whole_run.lm_calls:,}" if results else "–",
        "tokens": f"{results.usage.whole_run.tokens:,}" if results else "–",
        "cost": _dollars(results) if results else "–",
        "seconds": f"{history.seconds:,.1f}",
        "prompts changed": f"{len(results.changed)} of {len(results.baseline.prompts)}" if results else "–",
        "started": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(history.started["at"]))),
    }
    warning = '<p class="note">Offline simulation: these figures say nothing about real models.</p>'
    error = finished.get("error")
    return (
        f"<h1>{html.escape(str(history.started['optimizer']))}</h1>"
        f"{warning if history.started.get('simulated') else ''}"
        f"{f'<p class=error>{html.escape(str(error))}</p>' if error else ''}"
        f'<p class="scores"><span>{_score(before)}</span> → <b>{_score(after)}</b> {gain}'
        f"<small>mean score on {_judged_on(history)}, before and after{_unseen(history)}</small></p>{_facts(facts)}"
    )


def _judged_on(history: RunHistory) -> str:
    results = history.detailed
    count = len(results.best.valset_scores) if results else 0
    return f"{count} validation examples" if count else "the validation set"


def _unseen(history: RunHistory) -> str:
    unseen = history.held_out
    return f"; {unseen['before']:.3f} → {unseen['after']:.3f} on held-out examples" if unseen else ""


def _prompts(results: DetailedResults) -> str:
    blocks = []
    for name, before in results.baseline.prompts.items():
        after = results.best.prompts[name]
        if after == before:
            continue
        introduced = dict(results.introduced_at(name))
        why = "".join(
            f"<li>step {candidate.step}: {html.escape(revision.rationale)}</li>"
            for candidate in results.lineage()
            for revision in candidate.revisions
            if revision.predictor == name and revision.changed and revision.rationale
        )
        reasons = f'<ul class="why">{why}</ul>' if why else ""
        blocks.append(f"<h3>{html.escape(name)}</h3>{diff_html(before, after, introduced)}{reasons}")
    kept = [name for name in results.baseline.prompts if name not in results.changed]
    if kept:
        blocks.append(f'<p class="quiet">Unchanged: {", ".join(map(html.escape, kept))}.</p>')
    return _section("Prompts, before and after", "".join(blocks))


def _examples(split: str, rows: list[ExampleRow]) -> str:
    fixed, broken = ([row for row in rows if row.change == change] for change in ("fixed", "broken"))
    same, unknown = (sum(row.change == change for row in rows) for change in ("same", "unknown"))
    rest = f"{same} with the same score as before" + (f", {unknown} scored only once" if unknown else "")
    lists = _example_list("broken", "scored lower", broken) + _example_list("fixed", "scored higher", fixed)
    return _section(f"Examples, {split}", f'{lists}<p class="quiet">{rest}.</p>')


def _example_list(kind: str, said: str, rows: Iterable[ExampleRow]) -> str:
    items = [
        f"<li>{html.escape(row.example)} <small>{_score(row.baseline)} → {_score(row.best)}</small></li>"
        for row in rows
    ]
    title = f'<h3 class="{kind}">{len(items)} {kind} <small>({said} than before)</small></h3>'
    return f'{title}<ul class="examples">{"".join(items)}</ul>' if items else title


def _cautions(results: DetailedResults) -> str:
    blocks = []
    for head, lines in cautions(results):
        items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        blocks.append(f"<p>{html.escape(head)}.</p>" + (f"<ul>{items}</ul>" if items else ""))
    return "".join(blocks)


def _candidates(results: DetailedResults) -> str:
    rows = [
        (
            f"{c.index}{' ★' if c.index == results.best_index else ''}",
            str(c.step),
            "" if c.parent is None else str(c.parent),
            ", ".join(c.changed),
            _score(_mean(c.minibatch_scores)),
            _score(c.score),
            "accepted" if c.accepted else "left",
            c.reason,
        )
        for c in results.candidates
    ]
    head = ("candidate", "step", "made from", "changed", "minibatch", "validation", "fate", "why")
    return _section("Candidates", _table(head, rows))


def _steps(history: RunHistory) -> str:
    rows = [
        (str(s["step"]), _score(s.get("candidate_score")), _score(s.get("best_score")), str(s.get("reason", "")))
        for s in history.steps
    ]
    return _section("Steps", _table(("step", "candidate", "best", "why"), rows) if rows else "")


def _faults(results: DetailedResults) -> str:
    rows = [(fault.where, str(fault.count), fault.message) for fault in results.errors]
    return _table(("where", "times", "message"), rows) if rows else ""


def _settings(history: RunHistory) -> str:
    started = history.started
    models = {f"{role} model": name for role, name in (started.get("models") or {}).items()}
    data = {f"{split} data": facts for split, facts in (started.get("dataset") or {}).items()}
    given = started.get("settings") or {}
    nested = {key: value for key, value in given.items() if isinstance(value, Mapping) and _is_deep(value)}
    plain = {key: value for key, value in given.items() if key not in nested}
    whole = "".join(
        f"<h3>{html.escape(key)}</h3><pre>{html.escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
        for key, value in nested.items()
    )
    return _facts({**models, **data, **plain}) + whole


def _is_deep(value: Mapping[str, object]) -> bool:
    return any(isinstance(item, Mapping | list) for item in value.values())


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>" if body else ""


def _facts(facts: Mapping[str, object]) -> str:
    items = (f"<div><dt>{html.escape(str(k))}</dt><dd>{html.escape(_said(v))}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{"".join(items)}</dl>'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _said(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None) or "–"
    return "–" if value is None else str(value)


def _dollars(results: DetailedResults) -> str:
    unpriced = results.usage.whole_run.unpriced_calls
    if unpriced and not results.usage.whole_run.cost:
        return "no price known"
    return f"${results.usage.whole_run.cost:,.4f}" + (f" ({unpriced} calls without a price)" if unpriced else "")


def _mean(scores: Mapping[str, float]) -> float | None:
    return sum(scores.values()) / len(scores) if scores else None


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
