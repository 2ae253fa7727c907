"""What the drivers in Python share. A driver is one real client that does as it is told: its only argument is a JSON object
that says where the gateway is, then each line on standard input is something to do, and each line on standard output what came
of it."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any, Protocol

# A held call outlasts the hold, so that it is the gateway that ends it.
PATIENCE = 120


class Client(Protocol):
    """A connected client."""

    async def names(self) -> list[str]:
        """The tools that it sees."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """What one call brings: `result` or `refusal` (a result that is an error), with its words. A fault is raised."""


Connect = Callable[[dict[str, Any]], contextlib.AbstractAsyncContextManager[Client]]


def result(is_error: bool, words: str) -> dict[str, Any]:
    """A result as the driver hands it on."""
    return {"kind": "refusal" if is_error else "result", "words": words}


def text(content: list[Any]) -> str:
    """The words of a result's content."""
    return "".join(part.text for part in content if part.type == "text")


def innermost(fault: BaseException) -> BaseException:
    """What really happened, where task groups have wrapped it."""
    while inner := getattr(fault, "exceptions", None):
        fault = inner[0]
    return fault


async def answered(client: Client, wish: dict[str, Any]) -> dict[str, Any]:
    """One line's answer; whatever the client raises is an answer too."""
    try:
        if wish["do"] == "list":
            return {"kind": "list", "names": await client.names()}
        return await client.call(wish["tool"], wish["arguments"])
    except Exception as caught:  # the one who asked is told, and judges
        fault = innermost(caught)
        return {"kind": "fault", "words": f"{type(fault).__name__}: {fault}"}


async def obey(connect: Connect) -> None:
    """Connects, says so, and answers line by line until there is no more."""
    loop = asyncio.get_running_loop()
    async with connect(json.loads(sys.argv[1])) as client:
        say({"kind": "connected"})
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            say(await answered(client, json.loads(line)))


def say(answer: dict[str, Any]) -> None:
    """One line."""
    sys.__stdout__.write(json.dumps(answer) + "\n")
    sys.__stdout__.flush()


def run(connect: Connect) -> None:
    """The whole driver. What a client prints goes to standard error, out of the answers' way."""
    sys.stdout = sys.stderr
    asyncio.run(obey(connect))
