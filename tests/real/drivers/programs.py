"""What the drivers of agents' own programs share. The program is the real one; where it needs a model to call a tool, that is
`model.py`."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import lines
from model import Model, Turn

# Nobody listens there: what a program would ask of the world it does not get.
NOWHERE = "http://127.0.0.1:9"

# One question to the agent, from its start to its end.
Prompt = Callable[[], Awaitable[None]]


def env(where: dict[str, Any]) -> dict[str, str]:
    """What such a program finds in its environment: no more than it needs, and no way out of this machine."""
    here = "127.0.0.1,localhost"
    proxies = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "http_proxy": NOWHERE, "https_proxy": NOWHERE, "NO_PROXY": here, "no_proxy": here}
    return {"PATH": f"{Path(os.environ['BAILIWICK_NODE']).parent}:/usr/local/bin:/usr/bin:/bin", "HOME": where["folder"], **proxies}


def server(where: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The gateway as most of them write it into their settings."""
    if where["transport"] == "stdio":
        return {"command": where["command"], "args": where["args"], "env": where["env"], **more}
    return {"type": "http", "url": where["url"], "headers": {"Authorization": f"Bearer {where['token']}"}, **more}


def write(file: Path, settings: dict[str, Any]) -> str:
    """A settings file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))
    return str(file)


class Child:
    """A process that says and hears a JSON object a line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.last_id = 0

    async def says(self, said: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(said).encode() + b"\n")
        await self.process.stdin.drain()

    async def hears(self) -> dict[str, Any]:
        """The next object; what else it prints is no answer."""
        assert self.process.stdout
        while line := await self.process.stdout.readline():
            if line.startswith(b"{"):
                return json.loads(line)
        raise RuntimeError("it ended")

    async def asks(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to a JSON-RPC request; what it tells in between is of no interest here."""
        self.last_id += 1
        await self.says({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params})
        while True:
            said = await self.hears()
            if said.get("method", "").endswith("/elicitation/request") and "id" in said:
                action, content = lines.answer_to(said["params"]["message"])
                await self.says({"jsonrpc": "2.0", "id": said["id"], "result": {"action": action, "content": content}})
            if said.get("id") == self.last_id and "method" not in said:
                if "error" in said:
                    raise RuntimeError(f"{said['error']['code']}: {said['error']['message']}")
                return said["result"]


@contextlib.asynccontextmanager
async def child(where: dict[str, Any], env: dict[str, str], *command: str) -> AsyncIterator[Child]:
    """A program from its start to its end; what it says on standard error is the driver's."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=env, cwd=where["folder"], stdin=pipe, stdout=pipe, limit=1 << 24)
    try:
        yield Child(process)
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            # Some only end when they are told to.
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 5)
            if process.returncode is None:
                process.kill()
                await process.wait()


class Program:
    """An agent whose model does as it is told. `prefix` is what it puts before the name of each of the gateway's tools."""

    prefix = ""

    def __init__(self, where: dict[str, Any]) -> None:
        self.where = where
        self.folder = Path(where["folder"])
        self.model = Model()
        self.env = env(where)
        self.prompt: Prompt | None = None

    def session(self, patience: float) -> contextlib.AbstractAsyncContextManager[Prompt]:
        """The program, started with settings of its own: calls are given up after `patience` seconds."""
        raise NotImplementedError

    async def tools(self) -> list[str]:
        shown = (await self.turn(Turn())).shown
        return [name.removeprefix(self.prefix) for name in shown if name.startswith(self.prefix)]

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        return await self.brings(self.prefix + tool, arguments, patience)

    async def brings(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        """What the model reads after it has named this tool."""
        turn = await self.turn(Turn(tool, arguments), patience)
        if turn.brought is None:
            raise RuntimeError(f"the model was told nothing; it was shown {sorted(turn.shown)}")
        return lines.result(*turn.brought)

    async def turn(self, turn: Turn, patience: float | None = None) -> Turn:
        """One question to the agent."""
        self.model.turn = turn
        if patience is None:
            assert self.prompt
            await self.prompt()
        else:
            async with self.session(patience) as prompt:
                await prompt()
        return turn


def run(program: type[Program]) -> None:
    """The whole driver of an agent."""

    @contextlib.asynccontextmanager
    async def connect(where: dict[str, Any]) -> AsyncIterator[Program]:
        agent = program(where)
        async with agent.session(lines.PATIENCE) as agent.prompt:
            yield agent

    lines.run(connect)
