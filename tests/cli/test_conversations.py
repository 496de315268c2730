import json

import pytest

from langmem_dspy.cli.conversations import read_conversations
from langmem_dspy.errors import InputError

OPENAI = [{"role": "user", "content": "I like pie"}, {"role": "assistant", "content": "Noted"}]
SHAREGPT = [{"from": "human", "value": "I like pie"}, {"from": "gpt", "value": "Noted"}]
LANGCHAIN_DICTS = [{"type": "human", "data": {"content": "I like pie"}}, {"type": "ai", "data": {"content": "Noted"}}]
LANGCHAIN_DUMPS = [
    {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": {"content": text}}
    for name, text in (("HumanMessage", "I like pie"), ("AIMessageChunk", "Noted"))
]
PAIRS = [["user", "I like pie"], ["assistant", "Noted"]]


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def said(conversation):
    return [(m.role, m.content) for m in conversation.messages]


@pytest.mark.parametrize("turns", [OPENAI, SHAREGPT, LANGCHAIN_DICTS, LANGCHAIN_DUMPS, PAIRS])
@pytest.mark.parametrize("key", ["messages", "conversation", "conversations", None])
def test_the_common_chat_formats_read_alike(file, turns, key):
    row = turns if key is None else {key: turns}
    for path in (file("a.jsonl", json.dumps(row) + "\n"), file("b.json", row), file("c.json", [row, row])):
        for conversation in read_conversations([path]).conversations:
            assert said(conversation) == [("user", "I like pie"), ("assistant", "Noted")]


def test_a_line_is_a_conversation_and_is_named_by_its_place(file):
    read = read_conversations([file("a.jsonl", "\n".join(json.dumps({"messages": OPENAI}) for _ in range(3)))])
    assert [c.name for c in read.conversations] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]


def test_a_message_a_line_is_one_conversation(file):
    read = read_conversations([file("a.jsonl", "\n".join(map(json.dumps, OPENAI)))])
    assert [said(c) for c in read.conversations] == [[("user", "I like pie"), ("assistant", "Noted")]]


def test_a_text_file_is_one_conversation(file):
    assert said(read_conversations([file("a.txt", "I like pie")]).conversations[0]) == [("user", "I like pie")]


def test_what_stands_beside_the_messages_fills_namespace_and_thread(file):
    row = {"messages": OPENAI, "user_id": "ann", "metadata": {"team": "red"}, "id": 7, "language": "en"}
    conversation = read_conversations([file("a.jsonl", json.dumps(row))], ["user_id", "team"]).conversations[0]
    assert conversation.variables == {"user_id": "ann", "team": "red", "thread_id": "7"}


def test_one_that_cannot_be_read_does_not_stop_the_others(file):
    rows = [
        json.dumps(OPENAI),
        "{half",
        json.dumps({"messages": [{"role": "sailor", "content": "Arr"}]}),
        json.dumps({"text": "no messages"}),
        json.dumps({"messages": []}),
        json.dumps({"messages": OPENAI, "history": OPENAI}),
        json.dumps([SHAREGPT[0], {"from": "cow", "value": "Moo"}]),
    ]
    read = read_conversations([file("a.jsonl", "\n".join(rows))])
    assert [c.name for c in read.conversations] == ["a.jsonl:1"]
    assert list(read.unreadable) == [f"a.jsonl:{n}" for n in range(2, 8)]
    assert "not JSON" in read.unreadable["a.jsonl:2"] and "sailor" in read.unreadable["a.jsonl:3"]


def test_a_line_separator_inside_a_message_ends_no_line(file):
    text = json.dumps({"messages": [{"role": "user", "content": "I like\u2028pie"}]}, ensure_ascii=False)
    assert len(read_conversations([file("a.jsonl", text)])) == 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", "", "holds no conversation"),
        ("a.json", "{", "a.json is not JSON"),
        ("a.jsonl", '{"text": 1}', "no conversation could be read"),
    ],
)
def test_a_file_without_any_conversation_is_an_error(file, name, content, says):
    with pytest.raises(InputError, match=says):
        read_conversations([file(name, content)])


def test_a_variable_that_nothing_fills_is_named(file):
    with pytest.raises(InputError, match=r"--var user_id=\.\.\."):
        read_conversations([file("a.jsonl", json.dumps({"messages": OPENAI}))], ["user_id"])


def test_a_text_that_says_who_speaks_is_read_as_turns(tmp_path):
    file = tmp_path / "talk.txt"
    file.write_text("User: I play the cello.\nSince 1990: daily.\nassistant: ok\n")
    (conversation,) = read_conversations([file]).conversations
    said = [(message.role, message.content) for message in conversation.messages]
    assert said == [("user", "I play the cello.\nSince 1990: daily."), ("assistant", "ok")]
    file.write_text("Dear diary,\nuser: is a word I wrote.")
    (conversation,) = read_conversations([file]).conversations
    assert len(conversation.messages) == 1
