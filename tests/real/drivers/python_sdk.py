"""The Python SDK as an agent."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import lines
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


class Sdk:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def names(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await self.client.call_tool(tool, arguments)
        return lines.result(answer.is_error, lines.text(answer.content))


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[Sdk]:
    mode = {"legacy": "legacy", "modern": "auto"}[where["era"]]
    async with contextlib.AsyncExitStack() as stack:
        if where["transport"] == "stdio":
            way = StdioServerParameters(command=where["command"], args=where["args"], env=where["env"])
        else:
            headers = {"Authorization": f"Bearer {where['token']}"}
            way = streamable_http_client(where["url"], http_client=await stack.enter_async_context(create_mcp_http_client(headers=headers)))
        yield Sdk(await stack.enter_async_context(Client(way, mode=mode)))


lines.run(connect)
