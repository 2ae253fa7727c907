"""What the drivers of agents' own programs share: the program is the real one, its model is `model.py`."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import lines
from model import Model, Turn

# Nobody listens there: what a program would ask of the world it does not get.
NOWHERE = "http://127.0.0.1:9"


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


class Program:
    """A program that runs once for each turn. `prefix` is what it puts before the name of each of the gateway's tools."""

    prefix = ""

    def __init__(self, where: dict[str, Any]) -> None:
        self.where = where
        self.folder = Path(where["folder"])
        self.model = Model()
        self.env = env(where)
        self.out = ""

    def command(self, patience: float | None) -> list[str]:
        """What is run for a turn, its settings written; calls are given up after `patience` seconds."""
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
        """One question to the agent, from its start to its end."""
        self.model.turn = turn
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *self.command(patience), env=self.env, cwd=self.folder, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        try:
            out, err = await asyncio.wait_for(child.communicate(), lines.PATIENCE)
        finally:
            if child.returncode is None:
                child.kill()
        self.out = out.decode(errors="replace")
        if child.returncode or not turn.shown:
            raise RuntimeError(f"exit {child.returncode}: {self.out[-1000:]}{err.decode(errors='replace')[-1000:]}")
        return turn


def write(file: Path, settings: dict[str, Any]) -> str:
    """A settings file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))
    return str(file)
