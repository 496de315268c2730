"""The offline model behind an OpenAI-compatible endpoint on loopback, for any client that speaks to one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from dspy.lm15 import (
    LM15Error,
    ProviderError,
    RateLimitError,
    Request,
    Response,
    TimeoutError,
    request_from_openai_chat,
)

from langmem_dspy.simulation.engine import SimulatedEngine, model_name
from langmem_dspy.simulation.faults import Faults
from langmem_dspy.simulation.profiles import Profile

LARGEST_BODY = 64 * 2**20  # bytes
STREAMED_PIECE = 48  # characters


def serve(
    profile: str | Profile = "middle",
    seed: int = 0,
    *,
    latency: float = 0.0,
    faults: Faults | None = None,
    port: int = 0,
) -> Endpoint:
    """Start an endpoint on 127.0.0.1; a context manager, or to be closed by `close()`. `port` 0: any free one."""
    return Endpoint(SimulatedEngine(profile, seed, latency=latency, faults=faults), port)


class Endpoint:
    """A running endpoint. `dspy.LM(endpoint.model, api_base=endpoint.api_base, api_key="any")` talks to it."""

    def __init__(self, engine: SimulatedEngine, port: int = 0) -> None:
        self.engine = engine
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.engine = engine
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def model(self) -> str:
        """The model string for `dspy.LM` and LiteLLM; other clients leave out "openai/"."""
        return f"openai/{self._server.model}"

    def __repr__(self) -> str:
        return f"<Endpoint model={self.model!r} api_base={self.api_base!r}>"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # idle keep-alive connections end with their clients
    request_queue_size = 128
    engine: SimulatedEngine

    @property
    def model(self) -> str:
        return model_name(self.engine.profile).rpartition("/")[2]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    server: _Server

    def do_GET(self) -> None:
        if self.path.rstrip("/") != "/v1/models":
            return self._fail(404, f"there is nothing at {self.path}; use /v1/models or /v1/chat/completions")
        model = {"id": self.server.model, "object": "model", "created": 0, "owned_by": "simulation"}
        return self._send(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return None
        if self.path.rstrip("/") != "/v1/chat/completions":
            return self._fail(404, f"there is nothing at {self.path}; use /v1/models or /v1/chat/completions")
        try:
            responses = [self.server.engine.complete(request) for request in _requests(json.loads(body))]
        except ProviderError as error:
            return self._fault(error)
        except (ValueError, TypeError, LM15Error) as error:
            return self._fail(400, str(error))
        asked = json.loads(body)
        return self._stream(responses, asked) if asked.get("stream") else self._send(200, _completion(responses))

    def _body(self) -> bytes | None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST_BODY:
            self.close_connection = True
            self._fail(413, f"a request has at most {LARGEST_BODY} bytes, this one {length}")
            return None
        return self.rfile.read(length)

    def _fault(self, error: ProviderError) -> None:
        stall = self.server.engine.faults.stall
        if isinstance(error, TimeoutError) and stall is not None:
            time.sleep(stall)
            self.close_connection = True  # without a word
            return
        headers = {}
        if isinstance(error, RateLimitError) and error.retry_after is not None:
            headers["Retry-After"] = f"{error.retry_after:g}"
        self._fail(error.status or 500, error.message, headers)

    def _fail(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        kind = {404: "not_found_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
        kind = "server_error" if status >= 500 else kind
        self._send(status, {"error": {"message": message, "type": kind, "param": None, "code": None}}, headers)

    def _send(self, status: int, payload: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, responses: list[Response], asked: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for chunk in _chunks(responses, bool((asked.get("stream_options") or {}).get("include_usage"))):
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: who wants a log has the client's."""


def _requests(body: Any) -> Iterator[Request]:
    """One request for each of the `n` answers asked for; they differ in their seed."""
    if not isinstance(body, dict):
        raise ValueError(f"the body must be a JSON object, got {type(body).__name__}")
    asked = {key: value for key, value in body.items() if key != "n"}
    if isinstance(schema := (asked.get("response_format") or {}).get("json_schema"), dict):
        # A canonical request has no place for the description beside a schema.
        bare = {key: value for key, value in schema.items() if key != "description"}
        asked["response_format"] = {**asked["response_format"], "json_schema": bare}
    request = request_from_openai_chat(asked)
    yield request
    for i in range(1, int(body.get("n") or 1)):
        yield replace(request, config=replace(request.config, seed=(request.config.seed or 0) + i))


def _completion(responses: list[Response]) -> dict[str, Any]:
    choices = [
        {"index": i, "message": _message(response), "finish_reason": _finish(response), "logprobs": None}
        for i, response in enumerate(responses)
    ]
    return {**_head(responses[0], "chat.completion"), "choices": choices, "usage": _usage(responses)}


def _chunks(responses: list[Response], with_usage: bool) -> Iterator[dict[str, Any]]:
    head = _head(responses[0], "chat.completion.chunk")
    for i, response in enumerate(responses):
        message = _message(response)
        text = message.pop("content") or ""
        for call_index, call in enumerate(message.get("tool_calls", [])):
            call["index"] = call_index
        pieces = [text[at : at + STREAMED_PIECE] for at in range(0, len(text), STREAMED_PIECE)]
        for delta in [{**message, "content": ""}, *({"content": piece} for piece in pieces)]:
            yield {**head, "choices": [{"index": i, "delta": delta, "finish_reason": None}]}
        yield {**head, "choices": [{"index": i, "delta": {}, "finish_reason": _finish(response)}]}
    if with_usage:
        yield {**head, "choices": [], "usage": _usage(responses)}


def _head(response: Response, kind: str) -> dict[str, Any]:
    return {"id": response.id, "object": kind, "created": 0, "model": response.model}


def _message(response: Response) -> dict[str, Any]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.input)}}
        for call in response.tool_calls
    ]
    if calls:
        return {"role": "assistant", "content": None, "tool_calls": calls}
    return {"role": "assistant", "content": response.text or ""}


def _finish(response: Response) -> str:
    return "tool_calls" if response.finish_reason == "tool_call" else response.finish_reason


def _usage(responses: list[Response]) -> dict[str, int]:
    prompt = responses[0].usage.input_tokens or 0  # the prompt is sent once, however many answers come of it
    completion = sum(response.usage.output_tokens or 0 for response in responses)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
