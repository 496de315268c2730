"""The roles that deal with memories: what they say stands in the request, and they do what it warrants."""

from __future__ import annotations

import json

import dspy
import pytest
from pydantic import BaseModel

from langmem_dspy import FaissStore, create_search_memory_tool, simulation
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.memories.search import MemorySearcher
from langmem_dspy.memories.threads import ThreadExtractor
from langmem_dspy.simulation.roles.statements import content_words, statements, third_person, topic

TALK = [
    {"role": "user", "content": "Hi! I moved to Rome last year and I really like shoo-fly pie. What is the weather?"},
    {"role": "assistant", "content": "I am fond of Paris myself. It is sunny."},
    {"role": "user", "content": "Thanks. My name is Ann Miller, I'm 30 years old. Please write a poem."},
]


@pytest.fixture(autouse=True)
def offline():
    with dspy.context(lm=simulation.offline_lm("strong"), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        yield


def extracted(messages, existing=None, **options):
    return MemoryManager(**options)(messages=messages, existing=existing)


def texts(result):
    return [memory.content.content for memory in result.memories]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("I really like shoo-fly pie", "The user really likes shoo-fly pie"),
        ("I'm allergic to nuts", "The user is allergic to nuts"),
        ("my dog watches me", "The user's dog watches the user"),
        ("I moved to Rome", "The user moved to Rome"),
        ("I don't eat fish", "The user does not eat fish"),
        ("I can swim and I carry on", "The user can swim and the user carries on"),
    ],
)
def test_statements_are_told_in_the_third_person(said, told):
    assert third_person(said) == told


def test_only_what_the_user_says_of_themself_is_taken():
    assert texts(extracted(TALK)) == [
        "The user moved to Rome last year",
        "The user really likes shoo-fly pie",
        "The user's name is Ann Miller, the user is 30 years old",
    ]


def test_nothing_is_extracted_that_is_not_in_the_conversation():
    said = set(content_words(" ".join(m["content"] for m in TALK)))
    for text in texts(extracted(TALK)):
        assert set(content_words(text)) <= said | {"name"}
    assert texts(extracted("What is the weather in Rome?")) == []


def test_what_is_known_is_left_alone_and_what_is_told_otherwise_is_updated():
    known = ["The user lives in Paris", "The user dislikes shoo-fly pie", "The user likes tea"]
    result = extracted([*TALK[:1], {"role": "user", "content": "I like tea"}], known)
    assert texts(result) == [
        "The user moved to Rome last year",
        "The user really likes shoo-fly pie",
        "The user likes tea",
    ]
    assert len(result.operations) == 2 and result.dropped == []


def test_of_two_contradictions_in_one_talk_the_later_holds():
    assert texts(extracted("I like tea. I don't like tea.")) == ["The user does not like tea"]
    assert topic("The user likes tea").same_as(topic("The user never likes tea"))
    assert statements("user: I like tea?\nassistant: I like coffee") == []


def test_any_schema_is_filled_from_what_was_said():
    class Profile(BaseModel):
        name: str = ""
        city: str = ""
        age: int | None = None
        likes: list[str] = []

    (memory,) = extracted(TALK, schemas=[Profile], kind="single").memories
    assert memory.content == Profile(name="Ann Miller", city="Rome", age=30, likes=["shoo-fly pie"])
    again = extracted("I moved to Oslo.", [memory], schemas=[Profile], kind="single")
    assert again.memories[0].content.city == "Oslo" and again.memories[0].content.name == "Ann Miller"


def test_the_readmes_preference_schema_is_filled():
    schema = {
        "title": "UserPreference",
        "type": "object",
        "properties": {"preference": {"type": "string"}, "category": {"type": "string"}},
        "description": "User preferences",
    }
    talk = [
        {"role": "user", "content": "I prefer dark mode and minimalist interfaces"},
        {"role": "assistant", "content": "I'll remember your UI preferences."},
    ]
    (memory,) = extracted(talk, schemas=[schema]).memories
    assert memory.content.preference == "dark mode and minimalist interfaces"


def test_a_weak_model_overlooks_some_of_it():
    talk = " ".join(f"I like dish{i}." for i in range(40))
    with dspy.context(lm=simulation.offline_lm("weak")):
        assert 20 < len(extracted(talk).memories) < 40


def test_queries_are_made_of_the_conversations_own_words():
    from langmem_dspy.store.faiss_store import FaissStore

    with FaissStore() as store:
        result = MemorySearcher(store, write_queries=True)(messages=TALK)
    assert result.queries == ["hi moved rome last year like shoo-fly pie", "thank name ann miller i'm 30 year old"]


def test_a_thread_is_described_in_its_own_words():
    thread = ThreadExtractor()(messages=TALK).thread
    assert thread.title.startswith("Hi! I moved to Rome") and "shoo-fly pie" in thread.summary


def tool(name, **properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


TOOLS = [
    tool("manage_memory", action={"type": "string", "enum": ["create", "update"]}, content={"type": "string"}),
    tool("search_memory", query={"type": "string"}),
    tool("get_weather", city={"type": "string"}),
]


def asked(*messages):
    return dspy.settings.lm.forward(messages=list(messages), tools=TOOLS).choices[0].message


def user(text):
    return {"role": "user", "content": text}


def test_the_agent_calls_a_tool_when_the_request_warrants_it_and_none_otherwise():
    call = asked(user("I really like shoo-fly pie.")).tool_calls[0].function
    assert (call.name, json.loads(call.arguments)) == (
        "manage_memory",
        {"action": "create", "content": "The user really likes shoo-fly pie"},
    )
    call = asked(user("Which pie do I like?")).tool_calls[0].function
    assert call.name == "search_memory" and "pie" in json.loads(call.arguments)["query"]
    call = asked(user("Nice weather in Rome, please look")).tool_calls[0].function
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Rome"})
    assert not asked(user("Good morning")).tool_calls


def test_the_agent_answers_from_what_its_tools_returned():
    call = asked(user("Which pie do I like?")).tool_calls[0]
    request = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.function.name, "arguments": call.function.arguments},
    }
    result = '<memories>\n{"id":"1","content":"The user likes shoo-fly pie","score":0.5}\n</memories>'
    conversation = [
        user("Which pie do I like?"),
        {"role": "assistant", "content": None, "tool_calls": [request]},
        {"role": "tool", "tool_call_id": call.id, "content": result},
    ]
    reply = asked(*conversation)
    assert not reply.tool_calls and reply.content == "As far as I know: The user likes shoo-fly pie"
    conversation[-1]["content"] = "No memories were found for 'pie'."
    assert asked(*conversation).content == "I found nothing about that."


def test_a_react_agent_that_found_nothing_says_so():
    with FaissStore() as store, dspy.context(lm=simulation.offline_lm("strong")):
        agent = dspy.ReAct("message -> answer", tools=[create_search_memory_tool(store)])
        assert agent(message="Which pie do I like?").answer == "I found nothing about that."


def test_of_several_schemas_of_one_text_each_takes_what_it_is_about():
    class Taste(BaseModel):
        preference: str

    class Home(BaseModel):
        city: str

    memories = MemoryManager([Taste, Home])(messages="I like tea. I live in Rome.").memories
    assert [memory.content for memory in memories] == [Taste(preference="tea"), Home(city="Rome")]
