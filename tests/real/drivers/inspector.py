"""The Inspector's command line as an agent: a process of its own for each line."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import lines

NODE = os.environ["BAILIWICK_NODE"]
PROGRAM = Path(os.environ["BAILIWICK_NODE_MODULES"]) / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
# Its exit codes: a result, and a result that is a tool's error.
RESULT, REFUSAL = 0, 5


class Inspector:
    def __init__(self, config: Path) -> None:
        self.config = config
        self.env = {**os.environ, "HOME": str(config.parent), "MCP_INSPECTOR_SECRET_STORE": "memory", "PATH": f"{Path(NODE).parent}:{os.environ['PATH']}"}

    async def tools(self) -> list[str]:
        return [tool["name"] for tool in (await self.asks("tools/list"))["tools"]]

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        code, out, err = await self.run("tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        if code not in (RESULT, REFUSAL):
            raise RuntimeError(f"exit {code}: {out}{err}")
        return lines.result(code == REFUSAL, lines_of(out, err))

    async def resources(self) -> list[str]:
        return [resource["uri"] for resource in (await self.asks("resources/list"))["resources"]]

    async def templates(self) -> list[str]:
        return [template["uriTemplate"] for template in (await self.asks("resources/templates/list"))["resourceTemplates"]]

    async def read(self, uri: str) -> str:
        return "".join(part["text"] for part in (await self.asks("resources/read", "--uri", uri))["contents"])

    async def prompts(self) -> list[str]:
        return [prompt["name"] for prompt in (await self.asks("prompts/list"))["prompts"]]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        pairs = [f"{key}={value}" for key, value in arguments.items()]
        answer = await self.asks("prompts/get", "--prompt-name", name, "--prompt-args", *pairs)
        return "".join(message["content"]["text"] for message in answer["messages"])

    async def asks(self, method: str, *words: str) -> dict[str, Any]:
        code, out, err = await self.run(method, *words)
        if code != RESULT:
            raise RuntimeError(f"exit {code}: {out}{err}")
        return json.loads(out)["result"]

    async def run(self, method: str, *words: str) -> tuple[int, str, str]:
        command = [str(PROGRAM), "--cli", "--config", str(self.config), "--server", "gateway", "--stored-auth-only", "--format", "json", "--method", method]
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(NODE, *command, *words, env=self.env, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
        try:
            out, err = await asyncio.wait_for(child.communicate(), lines.PATIENCE)
        finally:
            if child.returncode is None:
                child.kill()
        return child.returncode, out.decode(), err.decode()


def lines_of(out: str, err: str) -> str:
    """The words of a result; all that was said where it is none."""
    try:
        content = json.loads(out)["result"]["content"]
    except (ValueError, KeyError):
        return out + err
    return "".join(part.get("text", "") for part in content)


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[Inspector]:
    era = {"protocolEra": where["era"]}
    if where["transport"] == "stdio":
        server = {"type": "stdio", "command": where["command"], "args": where["args"], "env": where["env"], **era}
    else:
        server = {"type": "http", "url": where["url"], "headers": {"Authorization": f"Bearer {where['token']}"}, **era}
    config = Path(where["folder"]) / "inspector.json"
    config.write_text(json.dumps({"mcpServers": {"gateway": server}}))
    yield Inspector(config)


lines.run(connect)
