"""Codex as an agent: its app server, which lists and calls for whoever holds the other end of its standard input."""

import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lines
import programs

SERVER = "gateway"
CLIENT = {"clientInfo": {"name": "driver", "version": "1.0.0"}, "capabilities": {"experimentalApi": True}}


@dataclass
class App:
    """One process, and the thread in which it keeps its connection to the gateway."""

    child: programs.Child
    thread: str

    async def asks(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.child.asks(method, {"threadId": self.thread, "server": SERVER, **params})

    async def calls(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await self.asks("mcpServer/tool/call", tool=tool, arguments=arguments)
        return lines.result(bool(answer.get("isError")), "".join(part.get("text", "") for part in answer["content"]))


class Codex:
    def __init__(self, where: dict[str, Any], app: App) -> None:
        self.where = where
        self.app = app

    async def tools(self) -> list[str]:
        return list((await self.status())["tools"])

    async def resources(self) -> list[str]:
        return [resource["uri"] for resource in (await self.status())["resources"]]

    async def templates(self) -> list[str]:
        return [template["uriTemplate"] for template in (await self.status())["resourceTemplates"]]

    async def read(self, uri: str) -> str:
        return "".join(part["text"] for part in (await self.app.asks("mcpServer/resource/read", uri=uri))["contents"])

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        if patience is None:
            return await self.app.calls(tool, arguments)
        async with app_server(self.where, patience) as other:
            return await other.calls(tool, arguments)

    async def status(self) -> dict[str, Any]:
        [server] = (await self.app.child.asks("mcpServerStatus/list", {}))["data"]
        return server


@contextlib.asynccontextmanager
async def app_server(where: dict[str, Any], patience: float) -> AsyncIterator[App]:
    """A process with settings of its own: calls are given up after `patience` seconds."""
    home = Path(where["folder"]) / f"codex-{patience:g}"
    home.mkdir(exist_ok=True)
    if where["transport"] == "stdio":
        env = ", ".join(f"{key} = {json.dumps(value)}" for key, value in where["env"].items())
        way = f"command = {json.dumps(where['command'])}\nargs = {json.dumps(where['args'])}\nenv = {{ {env} }}\n"
    else:
        way = f'url = "{where["url"]}"\nbearer_token_env_var = "GATEWAY_TOKEN"\n'
    (home / "config.toml").write_text(f"[mcp_servers.{SERVER}]\n{way}tool_timeout_sec = {patience:g}\nstartup_timeout_sec = 60\n")
    env = {**programs.env(where), "CODEX_HOME": str(home), "GATEWAY_TOKEN": where.get("token", "")}
    async with programs.child(where, env, os.environ["BAILIWICK_CODEX"], "app-server") as child:
        await child.asks("initialize", CLIENT)
        await child.says({"jsonrpc": "2.0", "method": "initialized"})
        thread = await child.asks("thread/start", {"cwd": where["folder"]})
        yield App(child, thread["thread"]["id"])


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[Codex]:
    async with app_server(where, lines.PATIENCE) as app:
        yield Codex(where, app)


lines.run(connect)
