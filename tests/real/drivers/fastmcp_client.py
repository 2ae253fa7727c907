"""FastMCP's client as an agent."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import lines
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp_types import PromptReference, ResourceTemplateReference


class FastMcp:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self.client.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        answer = await self.client.call_tool(tool, arguments, raise_on_error=False, timeout=patience)
        return lines.result(answer.is_error, lines.text(answer.content))

    async def resources(self) -> list[str]:
        return [resource.uri for resource in await self.client.list_resources()]

    async def templates(self) -> list[str]:
        return [template.uri_template for template in await self.client.list_resource_templates()]

    async def read(self, uri: str) -> str:
        return "".join(part.text for part in await self.client.read_resource(uri))

    async def prompts(self) -> list[str]:
        return [prompt.name for prompt in await self.client.list_prompts()]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return lines.text([message.content for message in (await self.client.get_prompt(name, arguments)).messages])

    async def complete(self, of: str, name: str, argument: str, value: str) -> list[str]:
        what = PromptReference(name=name) if of == "prompt" else ResourceTemplateReference(uri=name)
        return (await self.client.complete(what, {"name": argument, "value": value})).values


async def asks(message: str, *_: Any) -> ElicitResult:
    action, content = lines.answer_to(message)
    return ElicitResult(action=action, content=content)


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[FastMcp]:
    mode = {"legacy": "legacy", "modern": "auto"}[where["era"]]
    if where["transport"] == "stdio":
        way = StdioTransport(where["command"], where["args"], env=where["env"])
    else:
        way = StreamableHttpTransport(where["url"], headers={"Authorization": f"Bearer {where['token']}"})
    async with Client(way, mode=mode, elicitation_handler=asks, progress_handler=lines.progress) as client:
        yield FastMcp(client)


lines.run(connect)
