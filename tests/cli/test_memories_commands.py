import json
from pathlib import Path

import pytest

PIE = {
    "user_id": "ann",
    "thread_id": "monday",
    "messages": [{"role": "user", "content": "I really like shoo-fly pie."}],
}
TEA = {"user_id": "bob", "messages": [{"role": "user", "content": "I prefer tea over coffee."}]}
BY_USER = ("--namespace", "memories/{user_id}", "--profile", "strong")


@pytest.fixture
def extracted(cli):
    """A store with a memory of ann and one of bob."""
    Path("chats.jsonl").write_text("\n".join(map(json.dumps, [PIE, TEA])))
    ended = cli("memories", "extract", "chats.jsonl", *BY_USER)
    assert ended.code == 0, ended
    return ended


def lines(ended):
    return [json.loads(line) for line in ended.out.splitlines()]


def test_the_first_line_says_that_the_simulation_answers(extracted):
    assert extracted.out.startswith("No --model given: the offline simulation answers")


def test_what_was_extracted_is_found_listed_and_shown(cli, extracted):
    assert "2 of 2 conversations extracted" in extracted.out and "2 new" in extracted.out
    assert "shoo-fly pie" in cli("memories", "search", "which pie").out
    listed = cli("memories", "list").out
    assert "memories/ann" in listed and "tea over coffee" in listed
    key = lines(cli("memories", "list", "--json", "--namespace", "memories/ann"))[0]["key"]
    shown = cli("memories", "show", key[:6]).out
    assert key in shown and "monday, message 1" in shown
    assert "written" in cli("memories", "history", key[:6]).out


def test_a_namespace_sees_itself_alone(cli, extracted):
    found = lines(cli("memories", "search", "pie or tea", "--json", "--namespace", "memories/{u}", "--var", "u=bob"))
    assert [item["value"]["content"] for item in found] == ["The user prefers tea over coffee"]
    assert cli("memories", "list", "--namespaces").out.split() == ["memories/ann", "memories/bob"]


def test_what_has_nothing_to_do_with_the_query_is_not_shown(cli, extracted):
    assert cli("memories", "search", "zebra").out == "Nothing was found.\n"


def test_the_same_command_again_does_nothing_twice(cli, extracted):
    again = cli("memories", "extract", "chats.jsonl", *BY_USER)
    assert again.code == 0 and "2 were done before" in again.out and "0 calls" in again.out
    anew = cli("memories", "extract", "chats.jsonl", *BY_USER, "--again")
    assert "2 of 2 conversations extracted" in anew.out and "0 new" in anew.out


def test_other_settings_are_another_extraction(cli, extracted):
    ended = cli("memories", "extract", "chats.jsonl", *BY_USER, "--instructions", "Remember drinks.")
    assert "2 of 2 conversations extracted" in ended.out


def test_one_bad_conversation_is_reported_and_the_rest_is_done(cli):
    Path("chats.jsonl").write_text(f"{json.dumps(PIE)}\nnot json\n")
    ended = cli("memories", "extract", "chats.jsonl", "--profile", "strong")
    assert ended.code == 1
    assert "1 of 2 conversations extracted, 1 failed" in ended.out and "chats.jsonl:2: it is not JSON" in ended.out
    assert "shoo-fly" in cli("memories", "list").out


def test_a_budget_leaves_the_rest_for_the_next_run(cli):
    talks = [{"messages": [{"role": "user", "content": f"I like dish {i}."}]} for i in range(5)]
    Path("chats.jsonl").write_text("\n".join(map(json.dumps, talks)))
    ended = cli("memories", "extract", "chats.jsonl", "--lm-calls", "2", "--concurrency", "1")
    assert ended.code == 1 and "2 of 5 conversations extracted, 3 left" in ended.out and "--lm-calls" in ended.out
    ended = cli("memories", "extract", "chats.jsonl")
    assert ended.code == 0 and "3 of 5 conversations extracted, 2 were done before" in ended.out


def test_a_schema_from_a_file_and_a_profile(cli):
    Path("chats.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "I live in Berlin."}]}))
    schema = {"title": "Profile", "type": "object", "properties": {"city": {"type": "string"}}}
    Path("profile.json").write_text(json.dumps(schema))
    options = ("--schema", "profile.json", "--kind", "single", "--profile", "strong")
    assert cli("memories", "extract", "chats.jsonl", *options).code == 0
    assert '"city": "Berlin"' in cli("memories", "show", "Profile").out


def test_an_export_can_be_loaded_into_another_store(cli, extracted):
    assert "2 memories" in cli("memories", "export", "backup.jsonl").out
    assert "2 memories" in cli("memories", "load", "backup.jsonl", "--store", "other").out
    assert "shoo-fly pie" in cli("memories", "search", "pie", "--store", "other").out


def test_check_says_whether_the_store_is_whole(cli, extracted):
    import sqlite3

    ended = cli("memories", "check")
    assert ended.code == 0 and "2 memories in 2 namespaces" in ended.out and "whole" in ended.out
    with sqlite3.connect("memories/memories.sqlite") as sql:
        sql.execute("UPDATE revisions SET value = '{half' WHERE seq = 1")
    sql.close()
    ended = cli("memories", "check")
    assert ended.code == 1 and "revision 1 holds no JSON" in ended.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("list", "--store", "nowhere"), "there is no store in nowhere"),
        (("show", "zz"), "no memory in this store"),
        (("history", "zz"), "no memory in this store"),
        (("search", "pie", "--filter", "{half"), "--filter is not JSON"),
        (("search", "pie", "--namespace", "memories/{user_id}"), "user_id"),
        (("list", "--namespace", "a//b"), "empty label"),
        (("list", "--namespace", "a/{b}", "--var", "b"), "not of the form name=value"),
        (("extract", "chats.jsonl", "--namespace", "{team}"), "--var team="),
        (("extract", "chats.jsonl", "--schema", "nowhere:Thing"), "no module 'nowhere'"),
        (("extract", "chats.jsonl", "--api-base", "http://localhost"), "--api-base needs --model"),
    ],
)
def test_errors_say_in_a_line_what_to_do(cli, extracted, arguments, says):
    ended = cli("memories", *arguments)
    assert ended.code == 1 and says in ended.err and "Traceback" not in ended.err


def test_looking_makes_no_store(cli):
    cli("memories", "list")
    assert not Path("memories").exists()


def test_help_teaches_without_a_model_or_a_store(cli):
    ended = cli("memories", "--help")
    assert ended.code == 0 and "extract chats.jsonl" in ended.out
    assert "what is done is not done twice" in " ".join(cli("memories", "extract", "--help").out.split())
