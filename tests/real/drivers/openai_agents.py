"""The OpenAI Agents SDK as an agent. Its era is that of the `mcp` beside it: 1.x is legacy, 2.x negotiates."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import lines
from agents.mcp import MCPServer, MCPServerStdio, MCPServerStreamableHttp


class Agents:
    def __init__(self, server: MCPServer) -> None:
        self.server = server

    async def names(self) -> list[str]:
        return [tool.name for tool in await self.server.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await self.server.call_tool(tool, arguments)
        # `isError` became `is_error` with the second SDK.
        is_error = answer.is_error if hasattr(answer, "is_error") else answer.isError
        return lines.result(is_error, lines.text(answer.content))


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[Agents]:
    # Out of the box every call is given up after five seconds, the connection after as many.
    if where["transport"] == "stdio":
        params = {"command": where["command"], "args": where["args"], "env": where["env"]}
        server = MCPServerStdio(params=params, client_session_timeout_seconds=lines.PATIENCE)
    else:
        params = {"url": where["url"], "headers": {"Authorization": f"Bearer {where['token']}"}, "timeout": lines.PATIENCE}
        server = MCPServerStreamableHttp(params=params, client_session_timeout_seconds=lines.PATIENCE)
    async with server:
        yield Agents(server)


lines.run(connect)
