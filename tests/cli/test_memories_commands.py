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


def test_the_first_thing_the_help_says_to_do_works_as_it_stands(cli):
    told = " ".join(cli("memories", "--help").out.split())
    line = told[told.index('{"messages"') : told.index("}]}") + 3]
    query = told.partition('memories search "')[2].partition('"')[0]
    Path("chats.jsonl").write_text(line)
    assert "1 new" in cli("memories", "extract", "chats.jsonl").out
    assert "shoo-fly pie" in cli("memories", "search", query).out
    assert f'memories search "{query}"' in " ".join(cli("--help").out.split())


def test_where_the_simulation_found_nothing_it_says_what_it_can_read(cli):
    Path("chats.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "Hello there!"}]}))
    assert "short, plain sentences" in cli("memories", "extract", "chats.jsonl").out


def test_without_a_key_it_stops_at_once_and_says_so_in_a_line(cli, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    Path("chats.jsonl").write_text("\n".join(json.dumps(PIE | {"thread_id": str(i)}) for i in range(60)))
    ended = cli("memories", "extract", "chats.jsonl", "--model", "openai/gpt-4.1-mini", "--concurrency", "2")
    assert ended.code == 1 and "Stopped: [openai/gpt-4.1-mini] no API key" in ended.out
    assert "To fix" not in ended.out and len(ended.out.splitlines()) < 12


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["search", "pie", "--namespace", "memories/{user_id}"], "give --var user_id"),
        (["search", "pie", "--limit", "0"], "--limit"),
        (["list", "--offset", "-1"], "--offset"),
        (["search", " "], "the query is empty"),
        (["export", "no-folder/here.jsonl"], "No such file or directory"),
        (["export", "."], "FILE"),
        (["extract", "chats.jsonl", "--concurrency", "0"], "--concurrency"),
        (["extract", "chats.jsonl", "--store", "chats.jsonl/store"], "cannot be used"),
    ],
)
def test_what_cannot_be_done_is_said_in_the_words_of_the_command_line(cli, extracted, arguments, told):
    ended = cli("memories", *arguments)
    assert ended.code in (1, 2) and told in ended.out + ended.err and "Traceback" not in ended.err


def test_a_store_without_memories_says_so_of_its_namespaces_too(cli):
    Path("chats.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "Hello there!"}]}))
    cli("memories", "extract", "chats.jsonl")
    assert cli("memories", "list", "--namespaces").out == "No memories.\n"
