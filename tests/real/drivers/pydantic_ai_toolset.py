"""Pydantic AI's toolset as an agent."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import lines
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from pydantic_ai import ModelRetry
from pydantic_ai.mcp import MCPToolset


class PydanticAi:
    def __init__(self, toolset: MCPToolset, where: dict[str, Any]) -> None:
        self.toolset = toolset
        self.where = where

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self.toolset.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        if patience:
            async with toolset(self.where, patience) as other:
                return await called(other, tool, arguments)
        return await called(self.toolset, tool, arguments)

    async def resources(self) -> list[str]:
        return [resource.uri for resource in await self.toolset.list_resources()]

    async def templates(self) -> list[str]:
        return [template.uri_template for template in await self.toolset.list_resource_templates()]

    async def read(self, uri: str) -> str:
        return str(await self.toolset.read_resource(uri))

    async def prompts(self) -> list[str]:
        return [prompt.name for prompt in await self.toolset.list_prompts()]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return "".join(str(message.content) for message in (await self.toolset.get_prompt(name, arguments)).messages)


async def called(toolset: MCPToolset, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = await toolset.direct_call_tool(tool, arguments)
    except ModelRetry as retry:
        # What the model is shown, for an error of a tool and for one of the protocol alike.
        return lines.result(True, retry.message)
    return lines.result(False, answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False, default=str))


async def asks(message: str, *_: Any) -> ElicitResult:
    action, content = lines.answer_to(message)
    return ElicitResult(action=action, content=content)


def toolset(where: dict[str, Any], patience: float | None = None) -> MCPToolset:
    mode = {"legacy": "legacy", "modern": "auto"}[where["era"]]
    if where["transport"] == "stdio":
        way = StdioTransport(where["command"], where["args"], env=where["env"])
    else:
        way = StreamableHttpTransport(where["url"], headers={"Authorization": f"Bearer {where['token']}"})
    return MCPToolset(Client(way, mode=mode, elicitation_handler=asks, progress_handler=lines.progress, timeout=patience))


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[PydanticAi]:
    async with toolset(where) as whole:
        yield PydanticAi(whole, where)


lines.run(connect)
