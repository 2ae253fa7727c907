"""Many real clients as agents of one gateway, real servers behind it: each client over each transport, in each era that it can
speak. Every client is a driver of its own (`drivers/`) and walks the same way (`way.py`); the table at the end has a row for
each."""

import asyncio
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import kit
import record
from behind import ENV, ENVIRONMENTS
from cases import PARTS, Case, cases, config, lay_out
from listening import Listening
from way import Way, expect

# Clients that run side by side: most of the time they wait.
SIDE_BY_SIDE = 8
# How long a client may take to connect, to answer, and for its whole way, in seconds.
CONNECT, ANSWER, WAY = 90, 120, 450
# How long all of them may take.
ALL = 900

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
            if codes := codes_of(agent, await self.listed()) - besides:
                code = codes.pop()
                besides.add(code)
                return code
            await asyncio.sleep(0.25)
        raise TimeoutError("no question came to an approver")

    async def questions(self, agent: str) -> set[str]:
        """The codes of all its questions that are open now."""
        async with self.turn:
            return codes_of(agent, await asyncio.to_thread(self.gateway.json, "approvals", "list"))

    async def has_ended(self, agent: str, calls: int) -> None:
        """Waits until all of its calls have an outcome: whoever gave one up does not wait for it any longer."""

        def ended() -> bool:
            return len([outcome for outcome in record.outcomes_of(self.gateway, agent) if outcome.get("method") == "tools/call"]) >= calls

        await asyncio.to_thread(kit.until, "the end of a call that was given up", ended, ANSWER)

    async def approve(self, code: str) -> None:
        await asyncio.to_thread(self.gateway.ok, "approvals", "approve", code, "--yes")

    async def deny(self, code: str, reason: str) -> None:
        await asyncio.to_thread(self.gateway.ok, "approvals", "deny", code, "--reason", reason)


def codes_of(agent: str, approvals: list[dict[str, Any]]) -> set[str]:
    """The codes of its open questions."""
    return {one["code"] for one in approvals if (one["agent"], one["state"]) == (agent, "pending")}


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
        for part in case.parts:
            case.verdicts[part] = await tried(functools.partial(way.part, part))


async def comes(case: Case, room: asyncio.Semaphore, place: Path, operator: Operator, gateway: kit.Gateway) -> None:
    """One client, when there is room; what is left undone is a failure."""
    async with room:
        began = time.monotonic()
        verdict = await tried(lambda: asyncio.wait_for(walks(case, place, operator, gateway), WAY))
        for part in case.parts:
            case.verdicts.setdefault(part, f"not reached: {verdict}")
        if verdict != "ok" and all(said == "ok" for said in case.verdicts.values()):
            case.verdicts[case.parts[-1]] = f"its end: {verdict}"
        print(f"       {case.name} took {time.monotonic() - began:.0f} s", flush=True)


async def all_come(everyone: list[Case], place: Path, gateway: kit.Gateway) -> None:
    room = asyncio.Semaphore(SIDE_BY_SIDE)
    operator = Operator(gateway)
    coming = asyncio.gather(*(comes(case, room, place, operator, gateway) for case in everyone))
    verdict = await tried(lambda: asyncio.wait_for(coming, ALL))
    for case in everyone:
        for part in case.parts:
            case.verdicts.setdefault(part, f"not reached: {verdict}")


def is_on_record(case: Case, gateway: kit.Gateway) -> None:
    """The record knows each request of this client, in the era and over the transport that it was to use."""
    outcomes = record.outcomes_of(gateway, case.name)
    # Only what comes after a session was closed belongs to none: some ask for a stream of their own, or cancel, as late as that.
    known = [outcome for outcome in outcomes if outcome["method"] != "http" and outcome.get("reason") != "unknown_session"]
    ways = {(outcome["protocol"], outcome["transport"]) for outcome in known}
    checks.equal(f"{case.name}: all its requests are of its era and transport", ways, {(case.version, case.transport)})
    called = [outcome for outcome in outcomes if outcome.get("method") == "tools/call"]
    checks.equal(f"{case.name}: each of its calls is on record", len(called), case.calls)
    # Every 5 seconds whoever gave a token hears that the call waits; nobody else does.
    # The first of them is the one that was waited for to its end.
    pending = [outcome for outcome in called if outcome["outcome"] == "approval_pending"]
    told = [(outcome.get("asides") or {}).get("told", 0) for outcome in pending][:1]
    fits = told and (told[0] >= 2 if case.can("token") else told[0] == 0)
    checks.check(f"{case.name}: it is told that its call waits, if it asked for that", fits, told)


def cell(case: Case, part: str) -> str:
    """What stands in the table; `-` where a client has nothing for a part."""
    return {None: "-", "ok": "ok"}.get(case.verdicts.get(part), "FAILED")


def table(everyone: list[Case]) -> None:
    """A row for each, a column for each part; then what went wrong."""
    rows = [["client", "transport", "era", *PARTS]]
    ordered = sorted(everyone, key=lambda case: (case.client, case.transport, case.era))
    rows += [[case.client, case.transport, case.version, *(cell(case, part) for part in PARTS)] for case in ordered]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)
    for case in ordered:
        for part in case.parts:
            checks.check(f"{case.name}: {part}", case.verdicts[part] == "ok", case.verdicts[part])
        if set(case.verdicts.values()) != {"ok"}:
            print("\n".join(f"       > {line[:500]}" for line in "".join(case.heard).splitlines()[-25:]), flush=True)


@contextlib.contextmanager
def listens() -> Iterator[str]:
    """Where the server is that asks, for as long as it is needed."""
    port = kit.free_port()
    program = [str(ENVIRONMENTS / "client/bin/python"), str(Path(__file__).resolve().parent / "asker.py"), str(port)]
    server = Listening("asker", program, ENV, port)
    try:
        yield server.url
    finally:
        server.stop()


def come(place: Path, everyone: list[Case], asker: str) -> None:
    """From the gateway's start to its end."""
    gateway = kit.Gateway(kit.binary(*sys.argv[1:2]), config(place, everyone, asker))
    for connector in ["files", "everything", "time", "asker", "elder"]:
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


def main() -> int:
    place = kit.folder().resolve()
    lay_out(place)
    everyone = [case for case in cases() if not sys.argv[2:] or case.client in sys.argv[2:]]
    with listens() as asker:
        come(place, everyone, asker)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
