"""opencode as an agent: `opencode serve`, with a model that does as it is told."""

import asyncio
import contextlib
import json
import os
import socket
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import lines
import programs
from model import Turn

SERVER = "gateway"
QUESTION = {"parts": [{"type": "text", "text": "go"}]}


class OpenCode(programs.Program):
    prefix = f"{SERVER}_"

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(where)
        self.env |= {f"OPENCODE_DISABLE_{what}": "1" for what in ["AUTOUPDATE", "DEFAULT_PLUGINS", "LSP_DOWNLOAD", "MODELS_FETCH"]}
        # How each tool ended that was used, in order: its model reads no more than words.
        self.ends: list[bool] = []

    @contextlib.asynccontextmanager
    async def session(self, patience: float) -> AsyncIterator[programs.Prompt]:
        told = {"npm": "@ai-sdk/openai-compatible", "name": "told", "options": {"baseURL": f"{self.model.url}/v1", "apiKey": "none"}, "models": {"told": {}}}
        model = {"provider": {"told": told}, "model": "told/told", "small_model": "told/told", "autoupdate": False, "share": "disabled"}
        server = {"enabled": True, "timeout": patience * 1000, **self.way()}
        programs.write(self.folder / ".config/opencode/opencode.json", {"mcp": {SERVER: server}, **model})
        port = free_port()
        command = [os.environ["BAILIWICK_OPENCODE"], "serve", "--hostname", "127.0.0.1", "--port", str(port)]
        async with programs.child(self.where, self.env, *command) as child:
            assert child.process.stdout
            while b"listening" not in (line := await child.process.stdout.readline()):
                if not line:
                    raise RuntimeError("it ended")
            place = f"http://127.0.0.1:{port}/session"
            session = (await asyncio.to_thread(post, place, {}))["id"]

            async def prompt() -> None:
                await asyncio.to_thread(post, f"{place}/{session}/message", QUESTION)
                said = await asyncio.to_thread(post, f"{place}/{session}/message", None)
                used = [part for message in said for part in message["parts"] if part["type"] == "tool"]
                self.ends = [part["tool"] == "invalid" or part["state"]["status"] == "error" for part in used]

            yield prompt

    async def turn(self, turn: Turn, patience: float | None = None) -> Turn:
        await super().turn(turn, patience)
        if turn.brought:
            turn.brought = (self.ends[-1], turn.brought[1])
        return turn

    async def resources(self) -> list[str]:
        listed = await self.brings("list_mcp_resources", {"server": SERVER})
        return [resource["uri"] for resource in json.loads(listed["words"])["resources"]]

    async def read(self, uri: str) -> dict[str, Any]:
        return await self.brings("read_mcp_resource", {"server": SERVER, "uri": uri})

    def way(self) -> dict[str, Any]:
        if self.where["transport"] == "stdio":
            return {"type": "local", "command": [self.where["command"], *self.where["args"]], "environment": self.where["env"]}
        return {"type": "remote", "url": self.where["url"], "headers": {"Authorization": f"Bearer {self.where['token']}"}, "oauth": False}


def post(url: str, body: dict[str, Any] | None) -> Any:
    """What its own interface answers; without a body it is only read."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=lines.PATIENCE) as answer:
        return json.load(answer)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


programs.run(OpenCode)
