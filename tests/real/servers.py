"""Many real servers as connectors of one gateway. What a server says to a client that is connected to it directly, it must say
through the gateway: the same tools, the same answers, in both of the client's eras. Then servers that are lent a secret, over
standard input and output and over HTTP."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import kit
import record
from behind import AGENT, DUAL, DUALS, ENV, ERAS, SECRET, Server, config, dual, everything_reads, lay_out, official, servers
from listening import Listening
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

checks = kit.Checks()
heard: list[str] = []


async def said(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """All that a call brings, as a client sees it, but for `_meta`, which is each hop's own."""
    try:
        answer = await client.call_tool(tool, arguments)
    except MCPError as fault:
        heard.append(str(fault))
        return {"fault": (fault.code, fault.message)}
    whole = answer.model_dump(mode="json", by_alias=True, exclude_none=True)
    heard.append(json.dumps(whole))
    return {key: whole.get(key) for key in ["content", "structuredContent", "isError"]}


async def definitions(client: Client, connector: str = "") -> dict[str, dict[str, Any]]:
    """The tools by their own names, as a client sees them, but for `execution`: tasks of the older era are not offered."""
    prefix = f"{connector}__" if connector else ""
    tools = [tool.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"execution"}) for tool in (await client.list_tools()).tools]
    heard.append(json.dumps(tools))
    return {tool.pop("name").removeprefix(prefix): tool for tool in tools if tool["name"].startswith(prefix)}


@contextlib.asynccontextmanager
async def agent(gateway: kit.Gateway, token: str, mode: str, transport: str = "http") -> AsyncIterator[Client]:
    """The Python SDK, connected to the gateway."""
    if transport == "stdio":
        command, *words = gateway.command("stdio", "--agent", AGENT)
        async with Client(StdioServerParameters(command=command, args=words, env=gateway.env), mode=mode) as client:
            yield client
        return
    async with create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http:
        async with Client(streamable_http_client(gateway.url, http_client=http), mode=mode) as client:
            yield client


# Tools that are answered with a task or not at all (`execution.taskSupport`: "required").
TASK_ONLY = {"everything": {"simulate-research-query"}}


async def is_transparent(gateway: kit.Gateway, token: str, server: Server, place: Path) -> None:
    """Directly and through the gateway, in both eras, it is one and the same server."""
    own = {**server.env, "MEMORY_FILE_PATH": f"{place}/memory-direct.json"} if server.id == "memory" else server.env
    async with Client(server.direct(own), mode="legacy") as direct:
        wanted = await definitions(direct)
        for tool, arguments in server.writes:
            await said(direct, tool, arguments)
        answers = [await said(direct, tool, arguments) for tool, arguments in server.reads]
    checks.equal(f"{server.id}: offers as many tools as it is known for", len(wanted), server.tools)
    for mode, version in ERAS.items():
        async with agent(gateway, token, mode) as client:
            seen = await definitions(client, server.id)
            # A tool that only makes tasks is shown to whoever takes those, and this client does not.
            shown = sorted(set(wanted) - TASK_ONLY.get(server.id.split("-")[0], set()))
            checks.equal(f"{server.id}, {version}: the same tools", sorted(seen), shown)
            for name in sorted(set(seen) & set(wanted)):
                here, there = seen[name], wanted[name]
                different = {key: (here.get(key), there[key]) for key in there if here.get(key) != there[key]}
                checks.check(f"{server.id}, {version}: {name} is defined the same", not different, different)
            if mode == "legacy":
                for tool, arguments in server.writes:
                    done = await said(client, f"{server.id}__{tool}", arguments)
                    checks.check(f"{server.id}, {version}: {tool} is done", done.get("isError") is False, done)
            for (tool, arguments), answer in zip(server.reads, answers, strict=True):
                checks.equal(f"{server.id}, {version}: {tool} answers the same", await said(client, f"{server.id}__{tool}", arguments), linked(server.id, answer))


def linked(connector: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer as an agent gets it: a link to a resource is to where the agent can ask for it."""
    if not answer.get("content"):
        return answer
    content = [{**part, "uri": f"{connector}+{part['uri']}"} if part["type"] == "resource_link" else part for part in answer["content"]]
    return {**answer, "content": content}


async def lives_apart(gateway: kit.Gateway, token: str) -> None:
    """A server has the environment that it is configured with, and nothing of the gateway's."""
    async with agent(gateway, token, "auto") as client:
        answer = await client.call_tool("everything__get-env", {})
    if answer.is_error:
        # Nobody classed it, so that a person is asked: `get-env` shows what secrets the server has.
        code = gateway.pending(tool="everything__get-env")["code"]
        gateway.ok("approvals", "approve", code, "--yes")
        async with agent(gateway, token, "auto") as client:
            answer = await client.call_tool("everything__get-env", {})
    env = json.loads(answer.content[0].text)
    checks.equal("everything: its environment is the one that is configured", {key: env.get(key) for key in ENV}, ENV)
    checks.check("everything: nothing of the gateway's is in it", set(env) <= set(ENV), sorted(env))


async def is_lent(gateway: kit.Gateway, token: str, connector: str, era: str) -> None:
    """It proves that it was lent the secret, and the secret never comes back."""
    for transport in ["http", "stdio"]:
        for mode, version in ERAS.items():
            name = f"{connector} for an agent on {transport}, {version}"
            async with agent(gateway, token, mode, transport) as client:
                added = await said(client, f"{connector}__add", {"a": 2, "b": 40})
                sum_of_both = {"content": [{"type": "text", "text": "42"}], "structuredContent": {"result": 42}, "isError": False}
                checks.equal(f"{name}: adds, having proven itself", added, sum_of_both)
                spoken = await said(client, f"{connector}__era", {})
                checks.check(f"{name}: is spoken to as is configured", spoken.get("structuredContent", {}).get("result") == era, spoken)
                stepped = await said(client, f"{connector}__report", {"steps": 3})
                checks.check(f"{name}: reports", "3 steps" in json.dumps(stepped) and stepped.get("isError") is False, stepped)
                for tool, words, is_error in [("blurt", "the token is ", False), ("stumbles", "could not use ", True)]:
                    told = await said(client, f"{connector}__{tool}", {})
                    whole = json.dumps(told)
                    stays = SECRET not in whole and words in whole and told.get("isError") is is_error
                    checks.check(f"{name}: {tool} is called, and its secret stays", stays, told)


def pin(gateway: kit.Gateway, everyone: list[Server]) -> None:
    """An operator accepts what they offer."""
    for server in everyone:
        shown = gateway.run("connectors", "pin", server.id, "--yes")
        checks.check(f"{server.id}: its tools are accepted", shown.returncode == 0, shown.stderr)
        [now] = gateway.json("connectors", "show", server.id)
        states = [tool["state"] for tool in now["tools"]]
        checks.equal(f"{server.id}: all are callable", states, ["callable"] * server.tools)
        checks.equal(f"{server.id}: it offers what was accepted", gateway.run("connectors", "diff", server.id).returncode, 0)


def over_stdio(program: Path) -> None:
    """Servers as child processes."""
    place = kit.folder().resolve()
    lay_out(place)
    plain = servers(place)
    child: dict[str, Any] = {"command": DUAL, "env": ENV}
    if knows(program, "protocol"):
        duals = {id: dual(id, place, protocol=protocol, **child) for id, (protocol, _) in DUALS.items()}
    else:
        duals = {"dual-auto": dual("dual-auto", place, **child)}
    everyone = [*plain, *duals.values()]
    gateway = kit.Gateway(program, config(everyone))
    token = gateway.ok("agents", "token", AGENT)
    with checks.guard("servers as child processes"):
        pin(gateway, everyone)
        for server in plain:
            with checks.guard(f"{server.id}: it is transparent"):
                asyncio.run(asyncio.wait_for(is_transparent(gateway, token, server, place), 120))
        with checks.guard("everything: its environment"):
            asyncio.run(asyncio.wait_for(lives_apart(gateway, token), 60))
        for id in duals:
            with checks.guard(f"{id}: what it is lent"):
                era = DUALS[id][1] if knows(program, "protocol") else ERAS["legacy"]
                asyncio.run(asyncio.wait_for(is_lent(gateway, token, id, era), 120))
    closes(gateway, {"the lent secret": SECRET, "the agent's token": token})


def over_http(program: Path) -> None:
    """Servers at a URL."""
    place = kit.folder().resolve()
    lay_out(place)
    one = Listening("dual", [*DUAL, str(port := kit.free_port())], ENV, port)
    other = Listening("everything", [*official("everything"), "streamableHttp"], {**ENV, "PORT": str(port := kit.free_port())}, port)
    lent = [dual(id, place, url=one.url, protocol=protocol) for id, (protocol, _) in DUALS.items()]
    bare = Server("dual-bare", 5, [("add", {"a": 2, "b": 40})], url=one.url)
    shown = {"tools": 13, "reads": everything_reads(), "command": official("everything"), "env": ENV, "url": other.url}
    plain = [Server(f"everything-{protocol}", protocol=protocol, **shown) for protocol in ["auto", "legacy"]]
    everyone = [*lent, bare, *plain]
    try:
        gateway = kit.Gateway(program, config(everyone))
        token = gateway.ok("agents", "token", AGENT)
        with checks.guard("servers over HTTP"):
            pin(gateway, everyone)
            for server in plain:
                with checks.guard(f"{server.id}: it is transparent"):
                    asyncio.run(asyncio.wait_for(is_transparent(gateway, token, server, place), 120))
            for id, (_, era) in DUALS.items():
                with checks.guard(f"{id}: what it is lent"):
                    asyncio.run(asyncio.wait_for(is_lent(gateway, token, id, era), 120))
            with checks.guard("dual: it goes and comes back"):
                asyncio.run(asyncio.wait_for(goes_and_comes_back(gateway, token, one, other), 120))
        closes(gateway, {"the lent secret": SECRET, "the agent's token": token})
    finally:
        one.stop()
        other.stop()


async def goes_and_comes_back(gateway: kit.Gateway, token: str, one: Listening, other: Listening) -> None:
    """Without its credential it refuses; while it is down its calls fail and others go on; once it is back it is used again."""
    async with agent(gateway, token, "auto") as client:
        bare = await said(client, "dual-bare__add", {"a": 2, "b": 40})
        refused = bare.get("isError") is True and "no credential" in json.dumps(bare)
        checks.check("dual-bare: nothing is lent to it, and no token of the agent's reaches it", refused, bare)
        one.stop()
        for connector in DUALS:
            gone = await said(client, f"{connector}__add", {"a": 2, "b": 40})
            checks.check(f"{connector}: while its server is down a call fails", gone.get("isError") is True or "fault" in gone, gone)
        untouched = await said(client, "everything-auto__get-sum", {"a": 1, "b": 2})
        checks.check("another server is not touched by that", untouched.get("isError") is False, untouched)
        one.start()
        other.stop()
        other.start()
        for connector, tool in [*((connector, "add") for connector in DUALS), ("everything-auto", "get-sum"), ("everything-legacy", "get-sum")]:
            await comes_back(client, connector, tool)


async def comes_back(client: Client, connector: str, tool: str) -> None:
    """After a fault the first calls may hear that the server rests for a moment; sessions that it forgot are opened anew."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + 30
    while True:
        answer = await said(client, f"{connector}__{tool}", {"a": 2, "b": 40})
        if answer.get("isError") is False or loop.time() > give_up:
            break
        await asyncio.sleep(0.25)
    checks.check(f"{connector}: its server is back, and used again", "42" in json.dumps(answer), answer)


def closes(gateway: kit.Gateway, secrets: dict[str, str]) -> None:
    """The record, the stop, and what was said when something failed."""
    with checks.guard("the record"):
        record.judge(checks, gateway, secrets, heard)
    gateway.stop()
    checks.check("nothing that it said while it stopped is secret either", not any(secret in gateway.said for secret in secrets.values()))
    if checks.failed:
        print(f"       the gateway said last:\n{gateway.tail()}", flush=True)


def knows(program: Path, key: str) -> bool:
    """Whether this binary's configuration has such a key."""
    schema = subprocess.run([program, "config", "schema"], check=True, capture_output=True, text=True, timeout=60).stdout
    return f'"{key}"' in schema


def main() -> int:
    program = kit.binary(*sys.argv[1:2])
    with checks.guard("servers as child processes, from start to end"):
        over_stdio(program)
    if knows(program, "url"):
        with checks.guard("servers over HTTP, from start to end"):
            over_http(program)
    else:
        print("       connectors of this binary are child processes only: nothing to try over HTTP", flush=True)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
