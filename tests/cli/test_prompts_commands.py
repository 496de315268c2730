"""`langmem-dspy prompts`: programs to the registry and back, over a real MLflow store."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dspy
import pytest

DESK = """
import dspy

class Desk(dspy.Module):
    def __init__(self, rule=""):
        super().__init__()
        self.triage = dspy.Predict(dspy.Signature("ticket -> queue", "Sort tickets of {shop}." + rule))
        self.answer = dspy.ChainOfThought(dspy.Signature("ticket, queue -> reply", "Answer politely."))

plain = Desk()
learned = Desk("\\nInvoices go to billing.")
"""


@pytest.fixture
def prompts(cli, mlflow_store, tmp_path, monkeypatch):
    """Calls `langmem-dspy prompts ...` beside an empty store and a module with two forms of a program."""
    Path("prompted_desk.py").write_text(DESK)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda *arguments: cli("prompts", *arguments)


@pytest.fixture
def saved(prompts, monkeypatch):
    """The learned form, saved, with a demo that has nothing to do with prompts."""
    import sys

    monkeypatch.delitem(sys.modules, "prompted_desk", raising=False)
    import prompted_desk

    prompted_desk.learned.triage.demos = [dspy.Example(ticket="The invoice?", queue="billing")]
    prompted_desk.learned.save("learned.json")
    return "learned.json"


def test_a_saved_program_is_pushed_once_and_pulled_into_another_file(prompts, saved) -> None:
    assert prompts("push", saved, "--name", "Desk", "--alias", "champion").code == 0
    again = prompts("push", saved)  # the registry knows a program with these predictors by now
    assert "0 new, 2 there already" in again.out
    state = json.loads(Path(saved).read_text())
    state["triage"]["signature"]["instructions"] = "Something else."
    Path("other.json").write_text(json.dumps(state))
    pulled = prompts("pull", "Desk@champion", "--into", "other.json")
    assert "Changed: triage" in pulled.out
    assert json.loads(Path("other.json").read_text()) == json.loads(Path(saved).read_text())


def test_a_program_object_is_pushed_under_its_own_name_and_filled_from_the_registry(prompts, saved) -> None:
    pushed = prompts("push", "prompted_desk:learned", "--alias", "champion", "--message", "reviewed by Ann")
    assert "2 new" in pushed.out and "reviewed by Ann" in pushed.out
    name = re.search(r"Desk-\w+", pushed.out).group()
    ended = prompts("pull", f"{name}@champion", "--into", "prompted_desk:plain", "-o", "out.json")
    assert ended.code == 0, ended.err
    import prompted_desk

    filled = prompted_desk.Desk()
    filled.load("out.json")
    assert filled.triage.signature.instructions == "Sort tickets of {shop}.\nInvoices go to billing."
    assert prompted_desk.plain.triage.signature.instructions == "Sort tickets of {shop}."


def test_rollback_undoes_moves_of_an_alias_one_by_one_for_all_prompts(prompts, saved) -> None:
    prompts("push", "prompted_desk:plain", "--name", "Desk", "--alias", "champion")
    prompts("push", "prompted_desk:learned", "--name", "Desk", "--alias", "champion")
    assert "billing" in prompts("pull", "Desk.triage@champion").out
    assert prompts("alias", "Desk.triage/1", "champion").code == 0
    assert "billing" not in prompts("pull", "Desk.triage@champion").out
    assert prompts("rollback", "Desk.triage").code == 0
    assert "billing" in prompts("pull", "Desk.triage@champion").out
    assert prompts("rollback", "Desk").code == 0
    assert "billing" not in prompts("pull", "Desk.triage@champion").out
    ended = prompts("rollback", "Desk")
    assert ended.code == 1 and "no earlier 'champion' on record" in ended.err


def test_a_diff_is_between_versions_files_and_programs_alike(prompts, saved) -> None:
    prompts("push", "prompted_desk:plain", "--name", "Desk", "--alias", "champion")
    prompts("push", "prompted_desk:learned", "--name", "Desk")
    for before, after in [
        ("Desk@champion", "Desk"),
        ("Desk.triage/1", "Desk.triage/2"),
        ("Desk@champion", saved),
        ("prompted_desk:plain", "prompted_desk:learned"),
    ]:
        ended = prompts("diff", before, after)
        assert "+ Invoices go to billing." in ended.out and "- " not in ended.out, (before, after, ended.err)
    assert "Equal: triage, answer.predict" in prompts("diff", saved, "Desk").out


def test_a_list_names_aliases_and_a_pull_without_a_program_writes_texts(prompts, saved) -> None:
    prompts("push", saved, "--name", "Desk", "--alias", "champion")
    assert "champion" in prompts("list").out
    prompts("pull", "Desk", "-o", "texts.json")
    assert set(json.loads(Path("texts.json").read_text())) == {"Desk.triage", "Desk.answer.predict"}


WRONG = [
    (("pull", "Nobody@best"), "no prompt and no program 'Nobody'"),
    (("pull", "Desk@nobody"), "has no alias 'nobody'"),
    (("pull", "Desk.triage@1"), "has no alias '1'"),
    (("pull", "Desk/1"), "versions of its own"),
    (("pull", "De sk"), "is no reference to a prompt"),
    (("pull", "Desk", "--into", "prompted_desk:plain"), "--out"),
    (("push", "missing.json"), "there is no file missing.json"),
    (("push", "prompted_desk.py"), "is no JSON"),
    (("push", "others.json"), "no program in the registry has the predictors other"),
    (("push", "learned.json", "--alias", "latest"), "choose another alias"),
]


def test_what_is_wrong_is_said_with_what_to_do(prompts, saved) -> None:
    prompts("push", saved, "--name", "Desk")
    Path("others.json").write_text('{"other": "A prompt."}')
    for arguments, said in WRONG:
        ended = prompts(*arguments)
        assert ended.code == 1
        assert said in " ".join(ended.err.split())
