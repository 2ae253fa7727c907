"""FastMCP's client as an agent."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import lines
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport


class FastMcp:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def names(self) -> list[str]:
        return [tool.name for tool in await self.client.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await self.client.call_tool(tool, arguments, raise_on_error=False)
        return lines.result(answer.is_error, lines.text(answer.content))


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[FastMcp]:
    mode = {"legacy": "legacy", "modern": "auto"}[where["era"]]
    if where["transport"] == "stdio":
        way = StdioTransport(where["command"], where["args"], env=where["env"])
    else:
        way = StreamableHttpTransport(where["url"], headers={"Authorization": f"Bearer {where['token']}"})
    async with Client(way, mode=mode) as client:
        yield FastMcp(client)


lines.run(connect)
