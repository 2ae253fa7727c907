"""A model that does as it is told: what an agent's program asks of its vendor's service it asks of this one, on loopback. In
three dialects it names the one tool that it was told to, once, and takes down what tools it was shown and what came back."""

import itertools
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DONE = "done"
# What a program takes for the same because it has the same name, it puts together: each answer and each call has its own.
numbers = itertools.count(1)


@dataclass
class Turn:
    """One question to the agent: which tool its model is to name (none: it is only shown the tools), and what came of it."""

    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    # What the tool brought, as the model reads it: whether it is an error, and the words.
    brought: tuple[bool, str] | None = None
    call: str = field(default_factory=lambda: f"call_{next(numbers)}")


class Model:
    """The service, at a port of its own."""

    def __init__(self) -> None:
        self.turn = Turn()
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
                kind, text = model.answers(self.path, body)
                self.say(200, kind, text)

            def do_GET(self) -> None:
                self.say(404, "application/json", "{}")

            do_HEAD = do_GET

            def say(self, status: int, kind: str, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answers(self, path: str, body: dict[str, Any]) -> tuple[str, str]:
        """The dialect is told by where it is asked."""
        if "/chat/completions" in path:
            return chat(self.turn, body)
        if "enerateContent" in path:
            return contents(self.turn, body, "stream" in path)
        if "/messages" in path and "count_tokens" not in path:
            return messages(self.turn, body)
        return "application/json", json.dumps({"input_tokens": 1, "totalTokens": 1})


def names_tool(turn: Turn, shown: list[str]) -> bool:
    """Whether it is time to name the tool: what is asked beside the turn (a title, a summary) shows no tools."""
    turn.shown.update(shown)
    return bool(shown and turn.tool and turn.brought is None)


def events(several: list[tuple[str, Any]]) -> tuple[str, str]:
    """A stream of named events."""
    return "text/event-stream", "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in several)


def data(several: list[Any]) -> str:
    """A stream of data alone."""
    return "".join(f"data: {json.dumps(one)}\n\n" for one in several)


def words_of(content: str | list[dict[str, Any]]) -> str:
    """The words of a result, whichever way they are written."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def messages(turn: Turn, body: dict[str, Any]) -> tuple[str, str]:
    """As Claude Code asks."""
    last = body["messages"][-1]["content"]
    for part in last if isinstance(last, list) else []:
        if part.get("type") == "tool_result" and part["tool_use_id"] == turn.call:
            turn.brought = (bool(part.get("is_error")), words_of(part.get("content") or ""))
    if names_tool(turn, [tool["name"] for tool in body.get("tools", []) if "input_schema" in tool]):
        block: dict[str, Any] = {"type": "tool_use", "id": turn.call, "name": turn.tool, "input": {}}
        piece, reason = {"type": "input_json_delta", "partial_json": json.dumps(turn.arguments)}, "tool_use"
    else:
        block = {"type": "text", "text": ""}
        piece, reason = {"type": "text_delta", "text": DONE}, "end_turn"
    usage = {"input_tokens": 1, "output_tokens": 1}
    whole = {"id": f"msg_{next(numbers)}", "type": "message", "role": "assistant", "model": body["model"], "content": [], "usage": usage}
    whole |= {"stop_reason": None, "stop_sequence": None}
    if not body.get("stream"):
        content = {**block, "input": turn.arguments} if reason == "tool_use" else {**block, "text": DONE}
        return "application/json", json.dumps({**whole, "content": [content], "stop_reason": reason})
    return events(
        [
            ("message_start", {"type": "message_start", "message": whole}),
            ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}),
            ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": piece}),
            ("content_block_stop", {"type": "content_block_stop", "index": 0}),
            ("message_delta", {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}),
            ("message_stop", {"type": "message_stop"}),
        ]
    )


def contents(turn: Turn, body: dict[str, Any], streams: bool) -> tuple[str, str]:
    """As Gemini CLI asks."""
    for part in body["contents"][-1]["parts"]:
        if response := part.get("functionResponse"):
            said = response["response"]
            turn.brought = ("error" in said, json.dumps(said, ensure_ascii=False))
    shown = [one["name"] for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
    part = {"functionCall": {"name": turn.tool, "args": turn.arguments}} if names_tool(turn, shown) else {"text": DONE}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    answer = {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}}
    return ("text/event-stream", data([answer])) if streams else ("application/json", json.dumps(answer))


def chat(turn: Turn, body: dict[str, Any]) -> tuple[str, str]:
    """As opencode asks of a provider that is compatible with OpenAI's."""
    last = body["messages"][-1]
    if last["role"] == "tool" and last["tool_call_id"] == turn.call:
        turn.brought = (False, words_of(last["content"]))
    shown = [tool["function"]["name"] for tool in body.get("tools", [])]
    if names_tool(turn, shown):
        call = {"index": 0, "id": turn.call, "type": "function", "function": {"name": turn.tool, "arguments": json.dumps(turn.arguments)}}
        delta, reason = {"role": "assistant", "tool_calls": [call]}, "tool_calls"
    else:
        delta, reason = {"role": "assistant", "content": DONE}, "stop"
    head = {"id": f"chat_{next(numbers)}", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if not body.get("stream"):
        return "application/json", json.dumps({**head, "object": "chat.completion", "choices": [{"index": 0, "message": delta, "finish_reason": reason}], "usage": usage})
    several = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage}]
    return "text/event-stream", data(several) + "data: [DONE]\n\n"
