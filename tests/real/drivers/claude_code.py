"""Claude Code as an agent: `claude -p`, with a model that does as it is told."""

import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import lines
import programs

SERVER = "gateway"
# What is said to it, and answered, in lines of JSON.
STREAMS = ["--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
QUESTION = {"type": "user", "message": {"role": "user", "content": "go"}}


class ClaudeCode(programs.Program):
    prefix = f"mcp__{SERVER}__"

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(where)
        # Tools are shown to the model at once, not when it looks for them.
        quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "ENABLE_TOOL_SEARCH": "false"}
        self.env |= {**quiet, "ANTHROPIC_BASE_URL": self.model.url, "ANTHROPIC_API_KEY": "none"}
        kind = {"type": "stdio"} if where["transport"] == "stdio" else {}
        self.settings = programs.write(self.folder / "mcp.json", {"mcpServers": {SERVER: programs.server(where, **kind)}})

    @contextlib.asynccontextmanager
    async def session(self, patience: float) -> AsyncIterator[programs.Prompt]:
        env = {**self.env, "MCP_TOOL_TIMEOUT": f"{patience * 1000:.0f}"}
        allowed = ["--allowedTools", f"mcp__{SERVER}", "ListMcpResourcesTool", "ReadMcpResourceTool"]
        settings = ["--model", "told", "--mcp-config", self.settings, "--strict-mcp-config", *allowed]
        async with programs.child(self.where, env, os.environ["BAILIWICK_CLAUDE"], "-p", *STREAMS, *settings) as child:

            async def prompt() -> None:
                await child.says(QUESTION)
                while (said := await child.hears())["type"] != "result":
                    if said["type"] == "control_request":
                        await child.says(self.answer_to(said))

            yield prompt

    def answer_to(self, said: dict[str, Any]) -> dict[str, Any]:
        """What its user says to a question."""
        action, content = lines.answer_to(said["request"]["message"])
        answer = {"action": action} | ({"content": content} if content else {})
        return {"type": "control_response", "response": {"subtype": "success", "request_id": said["request_id"], "response": answer}}

    async def resources(self) -> list[str]:
        listed = await self.brings("ListMcpResourcesTool", {"server": SERVER})
        return [resource["uri"] for resource in json.loads(listed["words"])]

    async def read(self, uri: str) -> dict[str, Any]:
        return await self.brings("ReadMcpResourceTool", {"server": SERVER, "uri": uri})


programs.run(ClaudeCode)
