"""opencode as an agent: `opencode run`, with a model that does as it is told."""

import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import lines
import programs
from model import Turn

SERVER = "gateway"


class OpenCode(programs.Program):
    prefix = f"{SERVER}_"

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(where)
        self.env |= {f"OPENCODE_DISABLE_{what}": "1" for what in ["AUTOUPDATE", "DEFAULT_PLUGINS", "LSP_DOWNLOAD", "MODELS_FETCH"]}

    def command(self, patience: float | None) -> list[str]:
        told = {"npm": "@ai-sdk/openai-compatible", "name": "told", "options": {"baseURL": f"{self.model.url}/v1", "apiKey": "none"}, "models": {"told": {}}}
        model = {"provider": {"told": told}, "model": "told/told", "small_model": "told/told", "autoupdate": False, "share": "disabled"}
        server = {"enabled": True, "timeout": (patience or lines.PATIENCE) * 1000, **self.way()}
        programs.write(self.folder / ".config/opencode/opencode.json", {"mcp": {SERVER: server}, **model})
        return [os.environ["BAILIWICK_OPENCODE"], "run", "--format", "json", "go"]

    async def turn(self, turn: Turn, patience: float | None = None) -> Turn:
        """Its model reads no more than words; whether they are an error it says itself."""
        await super().turn(turn, patience)
        events = [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]
        if turn.brought and (used := [event["part"] for event in events if event["type"] == "tool_use"]):
            turn.brought = (used[-1]["tool"] == "invalid" or used[-1]["state"]["status"] == "error", turn.brought[1])
        return turn

    async def resources(self) -> list[str]:
        listed = await self.brings("list_mcp_resources", {"server": SERVER})
        return [resource["uri"] for resource in json.loads(listed["words"])]

    async def read(self, uri: str) -> dict[str, Any]:
        return await self.brings("read_mcp_resource", {"server": SERVER, "uri": uri})

    def way(self) -> dict[str, Any]:
        if self.where["transport"] == "stdio":
            return {"type": "local", "command": [self.where["command"], *self.where["args"]], "environment": self.where["env"]}
        return {"type": "remote", "url": self.where["url"], "headers": {"Authorization": f"Bearer {self.where['token']}"}, "oauth": False}


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[OpenCode]:
    yield OpenCode(where)


lines.run(connect)
