from __future__ import annotations

import json
import urllib.error
import urllib.request

import dspy
import pytest
from dspy.lm15 import Message, Request

from langmem_dspy import simulation
from langmem_dspy.optimizers.gradient import Diagnose
from langmem_dspy.simulation import Faults, SimulatedEngine, serve

CLIENTS = pytest.mark.parametrize("client", ["auto", "litellm"])
ADAPTERS = [dspy.ChatAdapter(use_json_adapter_fallback=False), dspy.JSONAdapter(), dspy.XMLAdapter()]
SORT = dspy.Signature("ticket -> queue", 'If `ticket` mentions "refund", set `queue` to "billing".')


def lm(endpoint, client="auto", **options) -> dspy.LM:
    given = {"cache": False, "num_retries": 0, "timeout": 5, "api_key": "any", **options}
    return dspy.LM(endpoint.model, api_base=endpoint.api_base, engine=client, **given)


@pytest.fixture(scope="module")
def endpoint():
    with serve() as running:
        yield running


@CLIENTS
@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)
def test_dspys_own_client_and_litellm_get_the_same_replies_as_in_process(endpoint, client, adapter):
    model = lm(endpoint, client)
    assert simulation.is_simulated(model)
    with dspy.context(lm=model, adapter=adapter):
        assert dspy.Predict(SORT)(ticket="a refund please").queue == "billing"
        served = dspy.Predict(Diagnose)(prompt="p", trajectories="", earlier_findings=[], **_GUIDANCE)
    with dspy.context(lm=simulation.offline_lm(), adapter=adapter):
        assert dspy.Predict(Diagnose)(prompt="p", trajectories="", earlier_findings=[], **_GUIDANCE) == served


_GUIDANCE = {"when_to_update": "", "update_instructions": ""}


@CLIENTS
def test_tokens_arrive_exactly(endpoint, client):
    model = lm(endpoint, client)
    model("abcdefgh")
    usage = model.history[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (2, 2)


@CLIENTS
@pytest.mark.parametrize("fault", ["rate_limit", "server_error", "timeout"])
def test_a_fault_is_outlived_by_a_retry(client, fault):
    with serve(faults=Faults(first=(fault,), retry_after=0.01)) as running:
        model = lm(running, client, num_retries=1)
        assert model("hello") == ["hello"]


@CLIENTS
def test_a_fault_without_retries_is_dspys_error(client):
    with serve(faults=Faults(rate_limit=1.0)) as running, pytest.raises(dspy.LMRateLimitError):
        lm(running, client)("hello")


@CLIENTS
def test_a_connection_that_hangs_meets_the_clients_timeout(client):
    with serve(faults=Faults(first=("timeout",), stall=0.6)) as running:
        model = lm(running, client, timeout=0.2)
        with pytest.raises(dspy.LMError):
            model("hello")
        assert model("hello") == ["hello"]


@CLIENTS
def test_a_truncated_reply_arrives_as_such(client):
    with serve(faults=Faults(truncated=1.0)) as running:
        response = lm(running, client)(Request(model=running.model, messages=(Message.user("many words here"),)))
    assert response.finish_reason == "length"


def test_the_openai_client_works_streaming_or_not(endpoint):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=endpoint.api_base, api_key="any", max_retries=0)
    name = client.models.list().data[0].id
    assert name == "simulation-middle"
    asked = {"model": name, "messages": [{"role": "user", "content": "word " * 30}]}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.choices[0].message.content
    assert len(chunks) > 4
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert len(client.chat.completions.create(**asked, n=3).choices) == 3


def test_tools_are_called_over_the_wire(endpoint):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=endpoint.api_base, api_key="any")
    tool = {"type": "function", "function": {"name": "say", "parameters": {"properties": {"word": {"type": "string"}}}}}
    asked = {"model": "simulation-middle", "messages": [{"role": "user", "content": "hello"}], "tools": [tool]}
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"word": "hello"}
    streamed = list(client.chat.completions.create(**asked, stream=True))
    assert streamed[0].choices[0].delta.tool_calls[0].function.name == "say"


def post(url: str, body: bytes) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body)) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/chat/completions", b"{", 400, "Expecting property name"),
        ("/chat/completions", b"[]", 400, "must be a JSON object"),
        ("/chat/completions", b'{"model": "m", "messages": []}', 400, "message"),
        ("/elsewhere", b"{}", 404, "there is nothing at /v1/elsewhere; use /v1/models"),
    ],
)
def test_bad_requests_are_answered_not_dropped(endpoint, path, body, status, said):
    code, reply = post(endpoint.api_base + path, body)
    assert code == status
    assert said in reply["error"]["message"]


def test_a_million_characters_are_served(endpoint):
    text = "one two three " * 75_000
    assert lm(endpoint)(text)[0].startswith("one two three")


def test_it_listens_on_loopback_alone_and_stops_when_closed():
    running = serve(SimulatedEngine("weak").profile)
    assert running.api_base.startswith("http://127.0.0.1:")
    running.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{running.api_base}/models", timeout=1)
