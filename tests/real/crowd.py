"""Many real clients as agents of one gateway, real servers behind it: each client over each transport, in each era that it can
speak, lists, calls, is refused, and is held for a person. Every client is a driver of its own (`drivers/`) and walks the same
way; the table at the end has a row for each."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import kit
import record
from cases import CONVERT, GRANTED, HOLD, MOVE, NOTE, READ, SECRET, SUM, WEATHER, WRITE, Case, cases, config, lay_out

# Clients that run side by side: most of the time they wait.
SIDE_BY_SIDE = 6
# How long a client may take to connect, to answer, and for its whole way, in seconds.
CONNECT, ANSWER, WAY = 90, 120, 300
# How long all of them may take.
ALL = 900

PARTS = ["list", "call", "refused", "held"]
checks = kit.Checks()


class Operator:
    """Whoever decides: sees the open questions, approves and denies, all by the command line."""

    def __init__(self, gateway: kit.Gateway) -> None:
        self.gateway = gateway
        self.turn = asyncio.Lock()
        self.read_at = 0.0
        self.open: list[dict[str, Any]] = []

    async def listed(self) -> list[dict[str, Any]]:
        """The questions, read once for all who ask at the same time."""
        async with self.turn:
            if time.monotonic() - self.read_at > 0.25:
                self.open = await asyncio.to_thread(self.gateway.json, "approvals", "list")
                self.read_at = time.monotonic()
            return self.open

    async def question(self, agent: str, besides: set[str]) -> str:
        """The code of a question that this agent's call makes, other than those it made before."""
        give_up = time.monotonic() + ANSWER
        while time.monotonic() < give_up:
            codes = [one["code"] for one in await self.listed() if (one["agent"], one["state"]) == (agent, "pending") and one["code"] not in besides]
            if codes:
                besides.add(codes[0])
                return codes[0]
            await asyncio.sleep(0.25)
        raise TimeoutError("no question came to an approver")

    async def approve(self, code: str) -> None:
        await asyncio.to_thread(self.gateway.ok, "approvals", "approve", code, "--yes")

    async def deny(self, code: str, reason: str) -> None:
        await asyncio.to_thread(self.gateway.ok, "approvals", "deny", code, "--reason", reason)


class Driven:
    """A driver that runs: one wish at a time, one answer for each."""

    def __init__(self, case: Case, child: asyncio.subprocess.Process) -> None:
        self.case = case
        self.child = child

    async def answer(self, patience: float = ANSWER) -> dict[str, Any]:
        assert self.child.stdout
        line = await asyncio.wait_for(self.child.stdout.readline(), patience)
        if not line:
            raise RuntimeError("the client ended")
        self.case.heard.append(line.decode())
        return json.loads(line)

    async def asks(self, **wish: Any) -> None:
        assert self.child.stdin
        self.child.stdin.write(json.dumps(wish).encode() + b"\n")
        await self.child.stdin.drain()

    async def lists(self) -> list[str]:
        await self.asks(do="list")
        answer = await self.answer()
        return sorted(answer.get("names") or [str(answer)])

    async def calls(self, tool: str, **arguments: Any) -> dict[str, Any]:
        await self.begins(tool, **arguments)
        return await self.answer()

    async def begins(self, tool: str, **arguments: Any) -> None:
        self.case.calls += 1
        await self.asks(do="call", tool=tool, arguments=arguments)


def expect(what: str, holds: object, seen: object) -> None:
    """A step that must hold for the next to make sense."""
    if not holds:
        raise AssertionError(f"{what}; saw: {seen}")


class Way:
    """The way that every client walks."""

    def __init__(self, case: Case, place: Path, operator: Operator, driven: Driven) -> None:
        self.case, self.place, self.operator, self.client = case, place, operator, driven
        self.codes: set[str] = set()

    async def list(self) -> None:
        names = await self.client.lists()
        expect("it sees exactly what is granted", names == GRANTED, names)

    async def call(self) -> None:
        for tool, arguments, words in [
            (READ, {"path": f"{self.place}/desk/note.txt"}, NOTE),
            (SUM, {"a": 2, "b": 40}, "42"),
            (WEATHER, {"location": "Chicago"}, "temperature"),
            (CONVERT, {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}, "21:00"),
        ]:
            answer = await self.client.calls(tool, **arguments)
            expect(f"{tool} answers", answer["kind"] == "result" and words in answer["words"], answer)

    async def refused(self) -> None:
        paths = {"source": f"{self.place}/desk/note.txt", "destination": f"{self.place}/desk/gone.txt"}
        told = []
        for tool in [MOVE, "files__no_such_tool"]:
            answer = await self.client.calls(tool, **paths)
            told.append((answer["kind"], answer["words"].replace(tool, "X")))
        expect("an ungranted tool is not called", told[0][0] != "result" and (self.place / "desk/note.txt").exists(), told)
        expect("an ungranted tool is answered as an absent one", told[0] == told[1], told)
        if self.case.is_inspector:
            # It looks the tool up in the list first, and sends nothing for one that is not there.
            self.case.calls -= 2
        else:
            expect("the client shows that there is no such tool", "Unknown tool: X" in told[0][1], told)
        outside = await self.client.calls(READ, path=f"{self.place}/private/secret.txt")
        said = outside["words"]
        fits = outside["kind"] == "refusal" and "/path" in said and "grant" in said and SECRET not in said
        expect("an argument out of bounds is refused, with its place", fits, outside)
        wrong = await self.client.calls(READ, path=f"{self.place}/desk/note.txt", head="one")
        expect("an argument of the wrong type is refused, with its place", wrong["kind"] == "refusal" and "/head" in wrong["words"], wrong)

    async def held(self) -> None:
        await self.is_decided()
        await self.comes_back()

    async def is_decided(self) -> None:
        """While the call waits: approved, it is done and answered; asked once more, it is a new question; denied, it hears why."""
        file, write = self.note("now")
        await self.client.begins(WRITE, **write)
        first = await self.operator.question(self.case.name, self.codes)
        expect("nothing is written before the approval", not file.exists(), file)
        await self.operator.approve(first)
        answer = await self.client.answer()
        expect("approved, the held call is answered", answer["kind"] == "result", answer)
        expect("it is written", file.read_text() == write["content"], file.read_text())
        await self.is_denied(file, write)

    async def comes_back(self) -> None:
        """Nobody decides in time: the call is told to come back, and once it was approved does so, once."""
        file, write = self.note("later")
        began = time.monotonic()
        await self.client.begins(WRITE, **write)
        code = await self.operator.question(self.case.name, self.codes)
        answer = await self.client.answer()
        took = time.monotonic() - began
        told = answer["kind"] == "refusal" and code in answer["words"] and "Not executed" in answer["words"]
        expect(f"undecided, it is told to come back ({took:.0f} s)", told and took >= HOLD - 1, answer)
        await self.operator.approve(code)
        expect("approving alone does nothing", not file.exists(), file)
        answer = await self.client.calls(WRITE, **write)
        expect("the same call again is done", answer["kind"] == "result" and file.exists(), answer)
        await self.is_denied(file, write)

    async def is_denied(self, file: Path, write: dict[str, str]) -> None:
        """What was done once is not done again without being asked."""
        file.unlink()
        await self.client.begins(WRITE, **write)
        code = await self.operator.question(self.case.name, self.codes)
        await self.operator.deny(code, "once is enough")
        answer = await self.client.answer()
        told = answer["kind"] == "refusal" and "once is enough" in answer["words"]
        expect("denied, it hears why", told and not file.exists(), answer)

    def note(self, when: str) -> tuple[Path, dict[str, str]]:
        file = self.place / f"desk/{self.case.name}-{when}.txt"
        return file, {"path": str(file), "content": f"{when}, by {self.case.name}\n"}


def whereabouts(case: Case, gateway: kit.Gateway, folder: Path) -> dict[str, Any]:
    """How a client reaches the gateway."""
    where: dict[str, Any] = {"transport": case.transport, "era": case.era, "folder": str(folder)}
    if case.transport == "http":
        return {**where, "url": gateway.url, "token": case.token}
    command, *words = gateway.command("stdio", "--agent", case.name)
    return {**where, "command": command, "args": words, "env": gateway.env}


@contextlib.asynccontextmanager
async def driver(case: Case, gateway: kit.Gateway) -> AsyncIterator[Driven]:
    """A client's process; what it said on standard error is heard as well."""
    folder = kit.folder()
    log = folder / "stderr"
    env = {**os.environ, "HOME": str(folder)}
    with log.open("wb") as errors:
        child = await asyncio.create_subprocess_exec(
            *case.program,
            json.dumps(whereabouts(case, gateway, folder)),
            env=env,
            cwd=folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=1 << 24,
        )
    try:
        yield Driven(case, child)
        assert child.stdin
        child.stdin.close()
        await asyncio.wait_for(child.wait(), 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        case.heard.append(log.read_text(errors="replace"))


async def tried(part: Callable[[], Awaitable[None]]) -> str:
    """The verdict on one part."""
    try:
        await part()
    except Exception as fault:  # whatever it is, the others go on
        return f"{type(fault).__name__}: {fault}"
    return "ok"


async def walks(case: Case, place: Path, operator: Operator, gateway: kit.Gateway) -> None:
    """One client from its start to its end."""
    async with driver(case, gateway) as driven:
        said = await driven.answer(CONNECT)
        expect("it connects", said["kind"] == "connected", said)
        way = Way(case, place, operator, driven)
        for part in PARTS:
            case.verdicts[part] = await tried(getattr(way, part))


async def comes(case: Case, room: asyncio.Semaphore, place: Path, operator: Operator, gateway: kit.Gateway) -> None:
    """One client, when there is room; what is left undone is a failure."""
    async with room:
        began = time.monotonic()
        verdict = await tried(lambda: asyncio.wait_for(walks(case, place, operator, gateway), WAY))
        for part in PARTS:
            case.verdicts.setdefault(part, f"not reached: {verdict}")
        if verdict != "ok" and all(said == "ok" for said in case.verdicts.values()):
            case.verdicts[PARTS[-1]] = f"its end: {verdict}"
        print(f"       {case.name} took {time.monotonic() - began:.0f} s", flush=True)


async def all_come(everyone: list[Case], place: Path, gateway: kit.Gateway) -> None:
    room = asyncio.Semaphore(SIDE_BY_SIDE)
    operator = Operator(gateway)
    coming = asyncio.gather(*(comes(case, room, place, operator, gateway) for case in everyone))
    verdict = await tried(lambda: asyncio.wait_for(coming, ALL))
    for case in everyone:
        for part in PARTS:
            case.verdicts.setdefault(part, f"not reached: {verdict}")


def is_on_record(case: Case, gateway: kit.Gateway) -> None:
    """The record knows each request of this client, in the era and over the transport that it was to use."""
    outcomes = record.outcomes_of(gateway, case.name)
    # Only what comes after a session was closed belongs to none: some ask for a stream of their own as late as that.
    known = [outcome for outcome in outcomes if outcome["method"] != "http"]
    ways = {(outcome["protocol"], outcome["transport"]) for outcome in known}
    checks.equal(f"{case.name}: all its requests are of its era and transport", ways, {(case.version, case.transport)})
    called = [outcome for outcome in outcomes if outcome.get("method") == "tools/call"]
    checks.equal(f"{case.name}: each of its calls is on record", len(called), case.calls)


def table(everyone: list[Case]) -> None:
    """A row for each, a column for each part; then what went wrong."""
    rows = [["client", "transport", "era", *PARTS]]
    ordered = sorted(everyone, key=lambda case: (case.client, case.transport, case.era))
    rows += [[case.client, case.transport, case.version, *("ok" if case.verdicts[part] == "ok" else "FAILED" for part in PARTS)] for case in ordered]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)
    for case in ordered:
        for part in PARTS:
            checks.check(f"{case.name}: {part}", case.verdicts[part] == "ok", case.verdicts[part])
        if set(case.verdicts.values()) != {"ok"}:
            print("\n".join(f"       > {line[:500]}" for line in "".join(case.heard).splitlines()[-25:]), flush=True)


def main() -> int:
    place = kit.folder().resolve()
    lay_out(place)
    everyone = cases()
    gateway = kit.Gateway(kit.binary(*sys.argv[1:2]), config(place, everyone))
    for connector in ["files", "everything", "time"]:
        gateway.ok("connectors", "pin", connector, "--yes")
    for case in everyone:
        case.token = gateway.ok("agents", "token", case.name)
    asyncio.run(all_come(everyone, place, gateway))
    table(everyone)
    for case in everyone:
        with checks.guard(f"{case.name}: the record"):
            is_on_record(case, gateway)
    with checks.guard("the record"):
        tokens = {f"the token of {case.name}": case.token for case in everyone}
        record.judge(checks, gateway, tokens, (line for case in everyone for line in case.heard))
    gateway.stop()
    if checks.failed:
        print(f"       the gateway said last:\n{gateway.tail()}", flush=True)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
