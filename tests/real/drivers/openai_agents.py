"""The OpenAI Agents SDK as an agent. Its era is that of the `mcp` beside it: 1.x is legacy, 2.x negotiates."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import lines
from agents.mcp import MCPServer, MCPServerStdio, MCPServerStreamableHttp


class Agents:
    def __init__(self, server: MCPServer, where: dict[str, Any]) -> None:
        self.server = server
        self.where = where

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self.server.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        if patience is None:
            return await called(self.server, tool, arguments)
        # As it comes: every call is given up after five seconds.
        async with server(self.where, {}) as other:
            return await called(other, tool, arguments)

    async def resources(self) -> list[str]:
        return [resource.uri for resource in (await self.server.list_resources()).resources]

    async def templates(self) -> list[str]:
        listed = (await self.server.list_resource_templates()).model_dump(by_alias=True)
        return [template["uriTemplate"] for template in listed["resourceTemplates"]]

    async def read(self, uri: str) -> str:
        return "".join(part.text for part in (await self.server.read_resource(uri)).contents)

    async def prompts(self) -> list[str]:
        return [prompt.name for prompt in (await self.server.list_prompts()).prompts]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return lines.text([message.content for message in (await self.server.get_prompt(name, arguments)).messages])


async def called(server: MCPServer, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    answer = await server.call_tool(tool, arguments)
    # `isError` became `is_error` with the second SDK.
    is_error = answer.is_error if hasattr(answer, "is_error") else answer.isError
    return lines.result(is_error, lines.text(answer.content))


def server(where: dict[str, Any], more: dict[str, Any]) -> MCPServerStdio | MCPServerStreamableHttp:
    if where["transport"] == "stdio":
        return MCPServerStdio(params={"command": where["command"], "args": where["args"], "env": where["env"]}, **more)
    # The connection is given up after five seconds as well.
    patience = {"timeout": lines.PATIENCE} if more else {}
    return MCPServerStreamableHttp(params={"url": where["url"], "headers": {"Authorization": f"Bearer {where['token']}"}, **patience}, **more)


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[Agents]:
    async with server(where, {"client_session_timeout_seconds": lines.PATIENCE}) as whole:
        yield Agents(whole, where)


lines.run(connect)
