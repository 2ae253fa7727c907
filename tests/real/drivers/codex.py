"""Codex as an agent: its app server, which lists and calls for whoever holds the other end of its standard input."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import lines
import programs

SERVER = "gateway"


class AppServer:
    """One process, and the thread in which it keeps its connection to the gateway."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.thread = ""
        self.last_id = 0

    async def asks(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; what else it says in between is of no interest here."""
        assert self.child.stdin and self.child.stdout
        self.last_id += 1
        self.child.stdin.write(json.dumps({"id": self.last_id, "method": method, "params": params}).encode() + b"\n")
        await self.child.stdin.drain()
        while line := await self.child.stdout.readline():
            said = json.loads(line)
            if said.get("id") == self.last_id and "method" not in said:
                if "error" in said:
                    raise RuntimeError(f"{said['error']['code']}: {said['error']['message']}")
                return said["result"]
        raise RuntimeError("it ended")

    async def begins(self, folder: Path) -> None:
        await self.asks("initialize", {"clientInfo": {"name": "driver", "version": "1.0.0"}, "capabilities": {"experimentalApi": True}})
        assert self.child.stdin
        self.child.stdin.write(b'{"method":"initialized"}\n')
        self.thread = (await self.asks("thread/start", {"cwd": str(folder)}))["thread"]["id"]


class Codex:
    def __init__(self, where: dict[str, Any], app: AppServer) -> None:
        self.where = where
        self.app = app

    async def tools(self) -> list[str]:
        return list((await self.status())["tools"])

    async def resources(self) -> list[str]:
        return [resource["uri"] for resource in (await self.status())["resources"]]

    async def templates(self) -> list[str]:
        return [template["uriTemplate"] for template in (await self.status())["resourceTemplates"]]

    async def read(self, uri: str) -> str:
        read = await self.app.asks("mcpServer/resource/read", {"threadId": self.app.thread, "server": SERVER, "uri": uri})
        return "".join(part["text"] for part in read["contents"])

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        if patience is None:
            return await called(self.app, tool, arguments)
        async with app_server(self.where, patience) as other:
            return await called(other, tool, arguments)

    async def status(self) -> dict[str, Any]:
        [server] = (await self.app.asks("mcpServerStatus/list", {}))["data"]
        return server


async def called(app: AppServer, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    asked = {"threadId": app.thread, "server": SERVER, "tool": tool, "arguments": arguments}
    answer = await app.asks("mcpServer/tool/call", asked)
    return lines.result(bool(answer.get("isError")), "".join(part.get("text", "") for part in answer["content"]))


@contextlib.asynccontextmanager
async def app_server(where: dict[str, Any], patience: float) -> AsyncIterator[AppServer]:
    """A process with settings of its own."""
    home = Path(where["folder"]) / f"codex-{patience:g}"
    home.mkdir(exist_ok=True)
    if where["transport"] == "stdio":
        env = ", ".join(f"{key} = {json.dumps(value)}" for key, value in where["env"].items())
        way = f"command = {json.dumps(where['command'])}\nargs = {json.dumps(where['args'])}\nenv = {{ {env} }}\n"
    else:
        way = f'url = "{where["url"]}"\nbearer_token_env_var = "GATEWAY_TOKEN"\n'
    (home / "config.toml").write_text(f"[mcp_servers.{SERVER}]\n{way}tool_timeout_sec = {patience:g}\nstartup_timeout_sec = 60\n")
    env = {**programs.env(where), "CODEX_HOME": str(home), "GATEWAY_TOKEN": where.get("token", "")}
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(os.environ["BAILIWICK_CODEX"], "app-server", env=env, cwd=where["folder"], stdin=pipe, stdout=pipe, limit=1 << 24)
    try:
        app = AppServer(child)
        await app.begins(Path(where["folder"]))
        yield app
        assert child.stdin
        child.stdin.close()
        await asyncio.wait_for(child.wait(), 15)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[Codex]:
    async with app_server(where, lines.PATIENCE) as app:
        yield Codex(where, app)


lines.run(connect)
