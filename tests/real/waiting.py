"""Real clients whose calls wait for a person, each held and then released in the way that it can take: by coming back with what it was given
(2026-07-28), by a page that its user is shown while the call is held (older), by the same call once more; and one that gives up after five
seconds, whose agent is held for three."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import kit
import record
from cases import MODULES, NODE, Case, cases
from crowd import CONNECT, Operator, driver

# Held so long at a time: shorter than any client's patience, so that those who come back do.
HOLD = 3
TOOL = "everything__get-sum"
CONSOLE = "https://console.example"
# Who comes back by itself with what it is given, though it is asked nothing.
STATE_ONLY = ["fastmcp", "pydantic-ai"]
LEGS = ["python", "typescript-v2"]
PAGES = ["python", "typescript-v2", "typescript-v1"]

checks = kit.Checks()


def config(everyone: list[Case]) -> str:
    """One agent and one grant for each, over one server with a tool that a person approves."""
    agents = "".join(
        f"""
[[agents]]
id = "{case.name}"
owner = "team@example.com"
ceiling = "high"
identity = [{{ uid = {os.getuid()} }}]
hold = "{HOLD if way_of(case) != "page" else 60}s"
state_only_legs = {json.dumps(way_of(case) == "state")}

[[grants]]
id = "{case.name}"
agent = "{case.name}"
purpose = "add numbers"
tools = ["{TOOL}"]
default = true
ttl = "1h"
"""
        for case in everyone
    )
    return f"""
[console]
public_url = "{CONSOLE}"

[approvals]
hold = "60s"
# Agent and approver are one user here.
allow_same_user = true

[[connectors]]
id = "everything"
command = ["{NODE}", "{MODULES}/@modelcontextprotocol/server-everything/dist/index.js"]
shared = true
tools.get-sum = {{ kind = "write", band = "high" }}
{agents}"""


def way_of(case: Case) -> str:
    """How this client is released."""
    if case.era == "modern":
        return "leg" if case.client in LEGS else "state" if case.client in STATE_ONLY else "again"
    return "page" if case.client in PAGES else "again"


async def waits(case: Case, gateway: kit.Gateway, operator: Operator) -> None:
    """One client, held and released."""
    way, codes = way_of(case), set()
    wish = {"do": "call", "tool": TOOL, "arguments": {"a": 17, "b": 25}, "conduct": "accept"}
    if case.client == "openai-agents":
        # As it comes: it gives up after five seconds.
        wish["patience"] = 5
    async with driver(case, gateway) as driven:
        said = await driven.answer(CONNECT)
        checks.equal(f"{case.name} connects", said["kind"], "connected")
        began = time.monotonic()
        await driven.asks(**wish)
        code = await operator.question(case.name, codes)
        if way in ["leg", "state"]:
            # It has come back at least once by itself.
            await asyncio.to_thread(kit.until, "it comes back", lambda: len(pending(gateway, case)) >= 2, 60)
        elif way == "again":
            answer = await driven.answer()
            took = time.monotonic() - began
            told = answer["kind"] == "refusal" and "APPROVAL PENDING" in answer["words"] and code in answer["words"]
            checks.check(f"{case.name} is told to come back, in its time ({took:.0f} s)", told and CONSOLE in answer["words"], answer)
        await operator.approve(code)
        if way == "again":
            await driven.asks(**wish)
        answer = await driven.answer()
        checks.check(f"{case.name} is released ({way})", answer["kind"] == "result" and "42" in answer["words"], answer)
        asked = answer.get("asked", [])
        if way != "again":
            fits = asked and all("waits for approval" in one and code in one for one in asked)
            checks.check(f"{case.name} shows where it stands, and what it says approves nothing", fits, answer)
            # Who comes back by itself is not shown the page once more.
            if way in ["page", "state"]:
                checks.equal(f"{case.name} is asked once", len(asked), 1)
        else:
            checks.check(f"{case.name} asks its user nothing", not asked, answer)
    outcomes = [one["outcome"] for one in record.outcomes_of(gateway, case.name) if one.get("method") == "tools/call"]
    checks.equal(f"{case.name} did it once", outcomes.count("success"), 1)


def pending(gateway: kit.Gateway, case: Case) -> list[dict]:
    """Its calls that were answered that a person is still to decide."""
    return [one for one in record.outcomes_of(gateway, case.name) if one.get("outcome") == "approval_pending"]


async def main(program: Path) -> int:
    absent = ["inspector", "codex", "claude-code", "gemini-cli", "opencode"]
    everyone = [case for case in cases() if case.client not in absent and (case.transport == "http" or case.client == "python")]
    gateway = kit.Gateway(program, config(everyone))
    gateway.ok("connectors", "pin", "everything", "--yes")
    for case in everyone:
        case.token = gateway.ok("agents", "token", case.name)
    operator, room = Operator(gateway), asyncio.Semaphore(4)

    async def comes(case: Case) -> None:
        async with room:
            with checks.guard(case.name):
                await asyncio.wait_for(waits(case, gateway, operator), 240)

    await asyncio.gather(*(comes(case) for case in everyone))
    checks.check("the record holds", "OK" in gateway.ok("audit", "verify"))
    gateway.stop()
    return checks.end()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(kit.binary(sys.argv[1] if len(sys.argv) > 1 else None))))
