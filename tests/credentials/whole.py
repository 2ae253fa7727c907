"""Servers that nobody here wrote, with no secret in any file: what each is lent, that it works by that alone, and that it ends. See `servers`."""

import asyncio
import base64
import datetime
import json
import os
import sys
import threading
from pathlib import Path

import kit
from lent import beneath, environment
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

PATIENCE = datetime.timedelta(seconds=60)
USUAL = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}

CONFIG = """
[console]
enabled = false
[[agents]]
id = "worker"
owner = "team@example.com"
{provider}
[[connectors]]
id = "up"
{way}
pin = "first-use"
credential = {lent}
tools.{tool} = {{ kind = "read", band = "low" }}
"""


class Case:
    """A server with whoever makes its secret. What is asked of that issuer is asked of it directly, and never of the gateway."""

    name = ""
    # A tool, what it is called with, and what stands in its answer where it works.
    tool, arguments, found = "", {}, ""
    # Its program; its plain environment; and the variables in which it is lent something.
    command, env, variables = [], {}, ()
    # The entry of its provider, and what its connector is lent.
    provider = lent = ""
    # What the record says of a lease that its issuer refuses.
    why = ""
    # Whether what was lent can be taken back before it ends by itself.
    is_taken_back = True

    def way(self):
        """How it is reached."""
        env = ", ".join(f"{name} = {json.dumps(value)}" for name, value in self.env.items())
        return f"command = {json.dumps([str(word) for word in self.command])}\nenv = {{ {env} }}"

    def held(self, gateway):
        """What the processes of this gateway have been lent: each as the values of its variables, or of the files that those name."""
        found = []
        for process in beneath(gateway.child.pid):
            try:
                env = environment(process)
                values = {name: env[name] for name in self.variables if name in env}
                if len(values) == len(self.variables):
                    opened = {name: self.opened(process, value) for name, value in values.items()}
                    found += [opened] if opened not in found else []
            except OSError:
                continue
        return found

    def opened(self, process, value):
        """What a variable stands for."""
        path = Path(value.replace("/proc/self/", f"{process}/"))
        return path.read_text() if value.startswith("/") and path.exists() else value

    def secrets(self, held):
        """What must be nowhere."""
        return list(held.values())

    def works(self, held):
        """Whether its issuer, or what it is for, still takes it."""
        raise NotImplementedError

    def take_away(self, held):
        """Its issuer takes it back by itself, before the task is over."""
        raise NotImplementedError

    def refuse(self):
        """From here on nothing is lent."""
        raise NotImplementedError

    def permit(self):
        """It is again."""
        raise NotImplementedError

    async def bare(self):
        """What the server answers to somebody who starts it without what it is lent."""
        command, *words = [str(word) for word in self.command]
        with open(os.devnull, "w") as nowhere:
            async with stdio_client(StdioServerParameters(command=command, args=words, env={**self.env, **self.without()}), nowhere) as pipes:
                return await self.asked(*pipes)

    def without(self):
        """What a server needs to start at all, with nothing of worth."""
        return {}

    async def asked(self, reading, writing):
        """The text of the answer to this case's call."""
        async with ClientSession(reading, writing, read_timeout_seconds=PATIENCE) as session:
            await session.initialize()
            prefix = "up__" if any(tool.name == f"up__{self.tool}" for tool in (await session.list_tools()).tools) else ""
            answer = await session.call_tool(prefix + self.tool, self.arguments)
            text = "\n".join(part.text for part in answer.content if part.type == "text")
            return f"ERROR {text}" if answer.isError else text


def heard(work):
    """What comes of it, a fault as text."""

    async def limited():
        return await asyncio.wait_for(work, 90)

    try:
        return asyncio.run(limited())
    except Exception as fault:
        while inner := getattr(fault, "exceptions", None):
            fault = inner[0]
        return f"ERROR {type(fault).__name__}: {fault}"


def forms(secret):
    """Every way in which it could lie around: as it is, escaped, in hexadecimal, and in base64 wherever it begins."""
    plain = secret.encode()
    yield from (plain, json.dumps(secret)[1:-1].encode(), plain.hex().encode(), plain.hex().upper().encode())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # What depends on what stands before it and behind it is left out.
            yield encode(b"\0" * before + plain)[4 if before else 0 : -4]


def lying_around(gateway, secrets):
    """Among how many places was looked, and where one is found: in the gateway's files, in what it said, in how it was started."""
    process = Path(f"/proc/{gateway.child.pid}")
    places = {path: path.read_bytes() for path in gateway.folder.rglob("*") if path.is_file()}
    places |= {path: path.read_bytes() for path in (process / "environ", process / "cmdline") if path.exists()}
    places["what it said"] = gateway.said.encode()
    return len(places), [str(place) for place, content in places.items() for secret in secrets for form in forms(secret) if form in content]


def looks_well(checks):
    """What is looked for is found, were it there."""
    secret, around = "of-nobody/0123456789+?\\x", ["", "a", "ab", "abc"]
    plain = [f"{before}{secret}{after}".encode() for before in around for after in around]
    hidden = [hide(text) for text in plain for hide in (bytes, base64.b64encode, base64.urlsafe_b64encode, lambda text: text.hex().encode(), lambda text: json.dumps(text.decode()).encode())]
    missed = [text for text in hidden if not any(form in text for form in forms(secret))]
    checks.check(f"a secret is found in each of {len(hidden)} texts that have one", not missed, missed)


class Task:
    """A grant, and an agent under it: the Python SDK's client."""

    def __init__(self, gateway, case, name):
        self.gateway, self.case, self.name = gateway, case, name
        self.token = gateway.ok("grants", "create", "--id", name, "--agent", "worker", "--tools", f"up__{case.tool}", "--purpose", "a task", "--ttl", "15m")

    def call(self):
        """What the agent hears."""

        async def asked():
            async with streamablehttp_client(self.gateway.url, {"Authorization": f"Bearer {self.token}"}) as (reading, writing, _):
                return await self.case.asked(reading, writing)

        return heard(asked())

    def why(self):
        """Why nothing was lent to it, by the record."""
        return next((row.get("why", "") for row in recorded(self.gateway, "refused", self.name)), "")


def prove(checks, program, case):
    """One server, from its first call to the end of its task."""
    name = case.name
    config = CONFIG.format(provider=case.provider, way=case.way(), lent=case.lent, tool=case.tool)
    gateway = kit.Gateway(program, config)
    try:
        said = heard(case.bare())
        checks.check(f"{name}: without a secret it does not work", case.found not in said, said)
        first, second = Task(gateway, case, "first"), Task(gateway, case, "second")
        said = first.call()
        if not checks.check(f"{name}: an agent gets what is there", case.found in said and not said.startswith("ERROR"), f"{said}\n{gateway.tail()}"):
            return
        [held] = case.held(gateway)
        checks.check(f"{name}: who it is for takes what it was lent", case.works(held))
        secrets = case.secrets(held)
        count, places = lying_around(gateway, secrets)
        checks.check(f"{name}: it is in none of {count} places", all(len(secret) >= 16 for secret in secrets) and not places, places)

        case.refuse()
        try:
            said = second.call()
            checks.check(f"{name}: where its issuer refuses, another task is denied, and hears so", said.startswith("ERROR") and "redential" in said and case.found not in said, said)
            checks.check(f"{name}: the record says why", case.why in second.why(), second.why())
            checks.equal(f"{name}: nothing else was used in its place", case.held(gateway), [held])
            checks.check(f"{name}: the task that has one goes on", case.found in first.call())
        finally:
            case.permit()
        said = kit.until(f"{name}: it works again", lambda: case.found in second.call(), 30)
        checks.check(f"{name}: once it is permitted, the other task has one of its own", said and len(case.held(gateway)) == 2, len(case.held(gateway)))

        gateway.ok("grants", "complete", "first")
        said = first.call()
        checks.check(f"{name}: when its task is over, the agent gets nothing", case.found not in said, said)
        if case.is_taken_back:
            over = kit.until(f"{name}: the end of it", lambda: not case.works(held), 20)
            checks.check(f"{name}: and nobody takes what it was lent", over)
        else:
            told = recorded(gateway, "minted", "first")
            checks.check(f"{name}: the record says that nobody takes it back, and that it ends", told and all(ends_by_itself(row) for row in told), told)
        checks.check(f"{name}: the server that had it is gone", held not in case.held(gateway))
        checks.check(f"{name}: the other task goes on", case.found in second.call())
        if case.is_taken_back:
            [other] = case.held(gateway)
            secrets += case.secrets(other)
            case.take_away(other)
            said = second.call()
            checks.check(f"{name}: when its issuer takes away what that has, it gets nothing", not case.works(other) and case.found not in said and case.held(gateway) in ([], [other]), said)
        gateway.ok("grants", "revoke", "second")
        if case.is_taken_back:
            over = kit.until(f"{name}: the end of the other", lambda: has_ended(gateway, "second"), 20)
            checks.check(f"{name}: which is over when its task is, all the same", over)
        gateway.stop()
        count, places = lying_around(gateway, secrets)
        checks.check(f"{name}: nothing of both is in any of the {count} places that the gateway leaves", not places, places)
    finally:
        gateway.stop()


def recorded(gateway, event, grant):
    """What is on record of what a grant was lent."""
    told = gateway.json("audit", "tail", "-n", "100", "--stream", "secrets")
    return [row for row in told if row["event"] == event and row.get("grant") == grant]


def has_ended(gateway, grant):
    """Whether the record has all that was lent to it as taken back."""
    minted, revoked = ({row["lease"] for row in recorded(gateway, event, grant)} for event in ("minted", "revoked"))
    return bool(minted) and minted <= revoked


def ends_by_itself(row):
    """Whether this says that nobody takes it back, and that it lives as long as an issuer gives at the least: 15 minutes."""
    since = datetime.datetime.fromisoformat(row["time"]).timestamp()
    return row["revocable"] is False and 0 < row["expires_at_ms"] / 1000 - since <= 15 * 60 + 5


def main():
    from services import services
    from stores import stores

    named = [word for word in sys.argv[1:] if not os.access(word, os.X_OK)]
    program = kit.binary(*(word for word in sys.argv[1:] if word not in named))
    checks = kit.Checks()
    looks_well(checks)

    def one_by_one(kinds):
        for kind in kinds:
            if not named or kind.name.split()[0] in named:
                with checks.guard(kind.name):
                    prove(checks, program, kind())

    # What is refused to one of a list would be refused to the others.
    threads = [threading.Thread(target=one_by_one, args=(kinds,)) for kinds in (stores(), services())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
