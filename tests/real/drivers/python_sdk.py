"""The Python SDK as an agent."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import lines
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import ElicitRequestParams, ElicitResult, PromptReference, ResourceTemplateReference


class Sdk:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        answer = await self.client.call_tool(tool, arguments, read_timeout_seconds=patience, progress_callback=lines.progress)
        return lines.result(answer.is_error, lines.text(answer.content))

    async def resources(self) -> list[str]:
        return [resource.uri for resource in (await self.client.list_resources()).resources]

    async def templates(self) -> list[str]:
        return [template.uri_template for template in (await self.client.list_resource_templates()).resource_templates]

    async def read(self, uri: str) -> str:
        return "".join(part.text for part in (await self.client.read_resource(uri)).contents)

    async def prompts(self) -> list[str]:
        return [prompt.name for prompt in (await self.client.list_prompts()).prompts]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return lines.text([message.content for message in (await self.client.get_prompt(name, arguments)).messages])

    async def complete(self, of: str, name: str, argument: str, value: str) -> list[str]:
        what = PromptReference(name=name) if of == "prompt" else ResourceTemplateReference(uri=name)
        return (await self.client.complete(what, {"name": argument, "value": value})).completion.values


async def asks(_: Any, params: ElicitRequestParams) -> ElicitResult:
    action, content = lines.answer_to(params.message)
    return ElicitResult(action=action, content=content)


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[Sdk]:
    mode = {"legacy": "legacy", "modern": "auto"}[where["era"]]
    async with contextlib.AsyncExitStack() as stack:
        if where["transport"] == "stdio":
            way = StdioServerParameters(command=where["command"], args=where["args"], env=where["env"])
        else:
            headers = {"Authorization": f"Bearer {where['token']}"}
            way = streamable_http_client(where["url"], http_client=await stack.enter_async_context(create_mcp_http_client(headers=headers)))
        yield Sdk(await stack.enter_async_context(Client(way, mode=mode, elicitation_callback=asks)))


lines.run(connect)
