"""LangChain's adapters as an agent: a session of its own for each call."""

import contextlib
import datetime
from collections.abc import AsyncIterator
from typing import Any

import lines
from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp.types import ElicitRequestParams, ElicitResult, PromptReference, ResourceTemplateReference
from pydantic import AnyUrl

SERVER = "gateway"


class LangChain:
    def __init__(self, where: dict[str, Any]) -> None:
        self.where = where
        self.client = client(where)
        self.listed: dict[str, Any] = {}

    async def tools(self) -> list[str]:
        self.listed = {tool.name: tool for tool in await self.client.get_tools()}
        return list(self.listed)

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        if patience:
            listed = {tool.name: tool for tool in await client(self.where, patience).get_tools()}
            return await called(listed[tool], tool, arguments)
        if not self.listed:
            await self.tools()
        if tool in self.listed:
            return await called(self.listed[tool], tool, arguments)
        # A model has no way to name a tool that is not listed; the session below has.
        async with self.client.session(SERVER) as session:
            answer = await session.call_tool(tool, arguments)
            return lines.result(answer.isError, lines.text(answer.content))

    async def resources(self) -> list[str]:
        return [str(blob.metadata["uri"]) for blob in await self.client.get_resources(SERVER)]

    async def templates(self) -> list[str]:
        async with self.client.session(SERVER) as session:
            return [template.uriTemplate for template in (await session.list_resource_templates()).resourceTemplates]

    async def read(self, uri: str) -> str:
        if not (blobs := await self.client.get_resources(SERVER, uris=uri)):
            # The adapters leave out what can't be read; the session says why.
            async with self.client.session(SERVER) as session:
                await session.read_resource(AnyUrl(uri))
        return "".join(blob.as_string() for blob in blobs)

    async def prompts(self) -> list[str]:
        async with self.client.session(SERVER) as session:
            return [prompt.name for prompt in (await session.list_prompts()).prompts]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return "".join(str(message.content) for message in await self.client.get_prompt(SERVER, name, arguments=arguments))

    async def complete(self, of: str, name: str, argument: str, value: str) -> list[str]:
        what = PromptReference(type="ref/prompt", name=name) if of == "prompt" else ResourceTemplateReference(type="ref/resource", uri=name)
        async with self.client.session(SERVER) as session:
            return (await session.complete(what, {"name": argument, "value": value})).completion.values


async def called(tool: Any, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    answer = await tool.ainvoke({"type": "tool_call", "id": "1", "name": name, "args": arguments})
    return lines.result(answer.status == "error", words(answer.content))


def words(content: str | list[Any]) -> str:
    """What a model would read."""
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else part.get("text", "") for part in content)


async def asks(_: Any, params: ElicitRequestParams, __: Any) -> ElicitResult:
    action, content = lines.answer_to(params.message)
    return ElicitResult(action=action, content=content)


def client(where: dict[str, Any], patience: float | None = None) -> MultiServerMCPClient:
    if where["transport"] == "stdio":
        way = {"transport": "stdio", "command": where["command"], "args": where["args"], "env": where["env"]}
    else:
        way = {"transport": "streamable_http", "url": where["url"], "headers": {"Authorization": f"Bearer {where['token']}"}}
    if patience:
        way["session_kwargs"] = {"read_timeout_seconds": datetime.timedelta(seconds=patience)}
    return MultiServerMCPClient({SERVER: way}, callbacks=Callbacks(on_progress=lines.progress, on_elicitation=asks))


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[LangChain]:
    yield LangChain(where)


lines.run(connect)
