"""LangChain's adapters as an agent: a session of its own for each call."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import lines
from langchain_mcp_adapters.client import MultiServerMCPClient

SERVER = "gateway"


class LangChain:
    def __init__(self, client: MultiServerMCPClient) -> None:
        self.client = client
        self.tools: dict[str, Any] = {}

    async def names(self) -> list[str]:
        self.tools = {tool.name: tool for tool in await self.client.get_tools()}
        return list(self.tools)

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if not self.tools:
            await self.names()
        if tool in self.tools:
            asked = {"type": "tool_call", "id": "1", "name": tool, "args": arguments}
            answer = await self.tools[tool].ainvoke(asked)
            return lines.result(answer.status == "error", words(answer.content))
        # A model has no way to name a tool that is not listed; the session below has.
        async with self.client.session(SERVER) as session:
            answer = await session.call_tool(tool, arguments)
            return lines.result(answer.isError, lines.text(answer.content))


def words(content: str | list[Any]) -> str:
    """What a model would read."""
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else part.get("text", "") for part in content)


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[LangChain]:
    if where["transport"] == "stdio":
        way = {"transport": "stdio", "command": where["command"], "args": where["args"], "env": where["env"]}
    else:
        way = {"transport": "streamable_http", "url": where["url"], "headers": {"Authorization": f"Bearer {where['token']}"}}
    yield LangChain(MultiServerMCPClient({SERVER: way}))


lines.run(connect)
