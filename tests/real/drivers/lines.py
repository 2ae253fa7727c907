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
    """A connected client. What else it can is a method of this name, if its library has it: `resources`, `templates`, `read`,
    `prompts`, `prompt`, `complete`."""

    async def tools(self) -> list[str]:
        """The tools that it sees."""

    async def call(self, tool: str, arguments: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        """What one call brings: `result` or `refusal` (a result that is an error), with its words. A fault is raised. With
        `patience` the client gives up after so many seconds."""


Connect = Callable[[dict[str, Any]], contextlib.AbstractAsyncContextManager[Client]]

# What came while a call ran: progress, in its words, and what the user of the client was asked.
told: list[str] = []
asked: list[str] = []
# What this user says to a question.
conduct = "decline"


async def progress(progress: float, total: float | None = None, message: str | None = None, *_: Any) -> None:
    """Hears progress."""
    told.append(message or str(progress))


def answer_to(message: str) -> tuple[str, dict[str, Any] | None]:
    """What the user does when asked, and what is filled in."""
    asked.append(message)
    return conduct, {"sure": True} if conduct == "accept" else None


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
    global conduct
    conduct = wish.pop("conduct", "decline")
    can = getattr(client, wish.pop("do"), None)
    if can is None:
        return {"kind": "none"}
    try:
        said = await can(**wish)
    except Exception as caught:  # the one who asked is told, and judges
        fault = innermost(caught)
        said = {"kind": "fault", "words": f"{type(fault).__name__}: {fault}"}
    match said:
        case list():
            said = {"kind": "list", "names": [str(name) for name in said]}
        case str():
            said = {"kind": "result", "words": said}
    said |= {"told": list(told), "asked": list(asked)}
    told.clear()
    asked.clear()
    return said


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
