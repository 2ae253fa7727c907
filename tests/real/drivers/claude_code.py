"""Claude Code as an agent: `claude -p`, with a model that does as it is told."""

import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import lines
import programs

SERVER = "gateway"
# Each call is given up after so many milliseconds.
PATIENCE = "MCP_TOOL_TIMEOUT"


class ClaudeCode(programs.Program):
    prefix = f"mcp__{SERVER}__"

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(where)
        # Tools are shown to the model at once, not when it looks for them.
        quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "ENABLE_TOOL_SEARCH": "false"}
        self.env |= {**quiet, "ANTHROPIC_BASE_URL": self.model.url, "ANTHROPIC_API_KEY": "none"}
        kind = {"type": "stdio"} if where["transport"] == "stdio" else {}
        self.settings = programs.write(self.folder / "mcp.json", {"mcpServers": {SERVER: programs.server(where, **kind)}})

    def command(self, patience: float | None) -> list[str]:
        self.env[PATIENCE] = f"{(patience or lines.PATIENCE) * 1000:.0f}"
        allowed = ["--allowedTools", f"mcp__{SERVER}", "ListMcpResourcesTool", "ReadMcpResourceTool"]
        return [os.environ["BAILIWICK_CLAUDE"], "-p", "go", "--model", "told", "--mcp-config", self.settings, "--strict-mcp-config", *allowed]

    async def resources(self) -> list[str]:
        listed = await self.brings("ListMcpResourcesTool", {"server": SERVER})
        return [resource["uri"] for resource in json.loads(listed["words"])]

    async def read(self, uri: str) -> dict[str, Any]:
        return await self.brings("ReadMcpResourceTool", {"server": SERVER, "uri": uri})


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[ClaudeCode]:
    yield ClaudeCode(where)


lines.run(connect)
