"""Pydantic AI's toolset as an agent."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import lines
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from pydantic_ai import ModelRetry
from pydantic_ai.mcp import MCPToolset


class PydanticAi:
    def __init__(self, toolset: MCPToolset) -> None:
        self.toolset = toolset

    async def names(self) -> list[str]:
        return [tool.name for tool in await self.toolset.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self.toolset.direct_call_tool(tool, arguments)
        except ModelRetry as retry:
            # What the model is shown, for an error of a tool and for one of the protocol alike.
            return lines.result(True, retry.message)
        return lines.result(False, answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False, default=str))


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[PydanticAi]:
    mode = {"legacy": "legacy", "modern": "auto"}[where["era"]]
    if where["transport"] == "stdio":
        way = StdioTransport(where["command"], where["args"], env=where["env"])
    else:
        way = StreamableHttpTransport(where["url"], headers={"Authorization": f"Bearer {where['token']}"})
    async with MCPToolset(Client(way, mode=mode)) as toolset:
        yield PydanticAi(toolset)


lines.run(connect)
