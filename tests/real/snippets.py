"""What `config print-client` prints, taken at its word: each settings file is read by a reader of its format, and real clients run
what is printed for them, as it is, over HTTP and stdio. Nothing is in their environment but the token, where they need one."""

import ast
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kit
import record
import yaml

NODE = os.environ["BAILIWICK_NODE"]
MODULES = Path(os.environ["BAILIWICK_NODE_MODULES"])
AGENT_MODULES = Path(os.environ["BAILIWICK_AGENT_MODULES"])
ENVIRONMENTS = Path(os.environ["BAILIWICK_ENVIRONMENTS"])
INSPECTOR = MODULES / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"

# What the demo's agent is granted.
GRANTED = ["tickets__get", "tickets__refund", "tickets__search"]
# Longer than a client waits that was told nothing (the OpenAI Agents SDK: 5 s).
HELD = 7
PATIENCE = 120

# They ask nothing of the world, and get nothing of it: nobody listens there.
OFFLINE = {
    **{name: "http://127.0.0.1:9" for name in ["HTTP_PROXY", "HTTPS_PROXY"]},
    **{name: "1" for name in ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER", "OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_MODELS_FETCH"]},
}

# The programs that are printed, and the environments that they run in.
IN_PYTHON = [("fastmcp", "client"), ("langchain", "legacy"), ("openai-agents", "legacy"), ("openai-agents", "openai"), ("pydantic-ai", "pydantic"), ("python", "client")]
IN_NODE = ["typescript-v1", "typescript-v2"]
# Agents' programs: where their settings go, how each is asked for its servers, and what it says of one that it has reached.
PROGRAMS = {
    "claude-code": (".claude.json", [os.environ["BAILIWICK_CLAUDE"], "mcp", "list"], r"bailiwick: .* - ✔ Connected"),
    "gemini-cli": (".gemini/settings.json", [NODE, f"{AGENT_MODULES}/@google/gemini-cli/bundle/gemini.js", "mcp", "list"], r"✓ bailiwick: .* - Connected"),
    "opencode": (".config/opencode/opencode.json", [os.environ["BAILIWICK_OPENCODE"], "mcp", "list"], r"✓ bailiwick .*connected"),
}
CODEX = os.environ["BAILIWICK_CODEX"]
# What Codex's app server is told, so that it connects and lists: `codex mcp list` shows settings alone.
CODEX_STATUS = [
    {"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "snippets", "version": "1.0.0"}}},
    {"method": "initialized"},
    {"id": 2, "method": "mcpServerStatus/list", "params": {}},
]
WAYS: dict[str, list[str]] = {"http": [], "stdio": ["--stdio"]}

# FastMCP reads `mcpServers` as Claude Desktop does.
READS_SETTINGS = """
import asyncio, json, sys
from fastmcp import Client
async def main():
    async with Client(json.load(open(sys.argv[1]))) as client:
        for tool in await client.list_tools():
            print(tool.name)
asyncio.run(main())
"""
# The printed program as a module, and a call that a person approves.
REFUNDS = """
import asyncio, snippet
async def main():
    async with snippet.server as server:
        answer = await server.call_tool("tickets__refund", {"id": "T-17", "amount_cents": 4900})
        print(answer.content[0].text)
asyncio.run(main())
"""

READERS: dict[str, Callable[[str], Any]] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load, "python": ast.parse, "javascript": str}

checks = kit.Checks()
heard: list[str] = []


def printed(gateway: kit.Gateway, client: str, transport: str) -> str:
    """What is printed for a client; what a person is told is heard as well."""
    done = gateway.run("config", "print-client", client, *WAYS[transport])
    heard.extend([done.stdout, done.stderr])
    if done.returncode:
        raise RuntimeError(f"print-client {client} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def known(gateway: kit.Gateway) -> list[str]:
    """The names that it knows."""
    return re.findall(r"^ +- ([a-z0-9-]+):", gateway.ok("config", "print-client", "--help"), re.MULTILINE)


def is_readable(gateway: kit.Gateway, client: str) -> None:
    """Its format is what it is said to be."""
    for transport, words in WAYS.items():
        [about] = gateway.json("config", "print-client", client, *words)
        snippet = printed(gateway, client, transport)
        checks.equal(f"{client}, {transport}: it is ready, and the same in JSON", (about["state"], about["snippet"].strip()), ("ready", snippet.strip()))
        read = READERS[about["format"]](snippet)
        checks.check(f"{client}, {transport}: a reader of {about['format']} takes it", read, snippet)
        place = gateway.url if about["transport"] == "http" else str(gateway.program)
        checks.check(f"{client}, {transport}: it says where", place in snippet, snippet)


class Client:
    """A real client in a folder of its own, with what was printed for it."""

    def __init__(self, name: str, transport: str, token: str) -> None:
        self.name, self.transport = name, transport
        self.folder = kit.folder()
        self.said = ""
        self.env = {"PATH": f"{Path(NODE).parent}:/usr/bin:/bin", "HOME": str(self.folder), "NO_PROXY": "127.0.0.1"}
        if transport == "http":
            self.env["BAILIWICK_TOKEN"] = token

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def runs(self, *command: object, **more: str) -> str:
        words = [str(word) for word in command]
        env = {**self.env, **more}
        done = subprocess.run(words, env=env, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        self.said = done.stdout + done.stderr
        heard.append(self.said)
        if done.returncode:
            raise RuntimeError(f"it ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


def inspects(client: Client, snippet: str) -> list[str]:
    """The Inspector's command line; its file takes no variable, so that the token comes beside it."""
    config = client.file("inspector.json", snippet)
    token = ["--header", f"Authorization: Bearer {client.env['BAILIWICK_TOKEN']}"] if client.transport == "http" else []
    command = [NODE, INSPECTOR, "--cli", "--config", config, *token, "--stored-auth-only", "--method", "tools/list", "--format", "json"]
    return [tool["name"] for tool in json.loads(client.runs(*command, MCP_INSPECTOR_SECRET_STORE="memory"))["result"]["tools"]]


def lists_in_python(environment: str) -> Callable[[Client, str], list[str]]:
    return lambda client, snippet: client.runs(ENVIRONMENTS / environment / "bin/python", client.file("snippet.py", snippet)).split()


def lists_in_node(client: Client, snippet: str) -> list[str]:
    (client.folder / "node_modules").symlink_to(MODULES)
    return client.runs(NODE, client.file("snippet.mjs", snippet)).split()


def reads_settings(client: Client, snippet: str) -> list[str]:
    return client.runs(ENVIRONMENTS / "client/bin/python", client.file("reads.py", READS_SETTINGS), client.file("settings.json", snippet)).split()


def connects(client: Client, snippet: str) -> list[str]:
    """An agent's program finds the settings where it is said that they go, and reaches the gateway; it says no more than that."""
    file, command, words = PROGRAMS[client.name]
    client.file(file, trusting(snippet) if client.name == "gemini-cli" else snippet)
    client.runs(*command, **OFFLINE)
    if not re.search(words, client.said):
        raise RuntimeError(f"it said: {client.said}")
    return GRANTED


def trusting(snippet: str) -> str:
    """With what the note beside the snippet asks for: Gemini CLI shows servers of folders that it trusts."""
    return json.dumps({**json.loads(snippet), "security": {"folderTrust": {"enabled": False}}})


def codex_lists(client: Client, snippet: str) -> list[str]:
    client.file(".codex/config.toml", snippet)
    env = {**client.env, **OFFLINE}
    child = subprocess.Popen([CODEX, "app-server"], env=env, cwd=client.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    patience = threading.Timer(PATIENCE, child.kill)
    patience.start()
    try:
        assert child.stdin and child.stdout
        for said in CODEX_STATUS:
            child.stdin.write(json.dumps(said) + "\n")
            child.stdin.flush()
        for line in child.stdout:
            heard.append(line)
            if (answer := json.loads(line)).get("id") == 2:
                [server] = answer["result"]["data"]
                return list(server["tools"])
        raise RuntimeError("it ended")
    finally:
        patience.cancel()
        child.kill()
        child.communicate()


def tried(gateway: kit.Gateway, token: str, what: str, name: str, transport: str, way: Callable[[Client, str], list[str]]) -> tuple[str, Any]:
    """What one client sees."""
    try:
        return what, sorted(way(Client(name, transport, token), printed(gateway, name, transport)))
    except Exception as fault:  # whatever it is, the others go on
        return what, f"{type(fault).__name__}: {fault}"


def connect(gateway: kit.Gateway, token: str) -> None:
    """Each client that is here sees what is granted, set up as is printed."""
    several: list[tuple[str, str, str, Callable[[Client, str], list[str]]]] = []
    for transport in WAYS:
        several.append((f"inspector, {transport}", "inspector", transport, inspects))
        several += [(f"{name} in {environment}, {transport}", name, transport, lists_in_python(environment)) for name, environment in IN_PYTHON]
        several += [(f"{name}, {transport}", name, transport, lists_in_node) for name in IN_NODE]
        several += [(f"{name}, {transport}", name, transport, connects) for name in PROGRAMS if Path(PROGRAMS[name][1][0]).exists()]
        several.append((f"codex, {transport}", "codex", transport, codex_lists))
    several.append(("the settings of claude-desktop, read by FastMCP", "claude-desktop", "stdio", reads_settings))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for what, seen in pool.map(lambda one: tried(gateway, token, *one), several):
            checks.equal(f"{what}: it sees what is granted", seen, GRANTED)


def waits(gateway: kit.Gateway, token: str, transport: str) -> None:
    """A call that is held longer than the client waits by itself, is waited for."""
    client = Client("openai-agents", transport, token)
    client.file("snippet.py", printed(gateway, "openai-agents", transport))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.runs, ENVIRONMENTS / "openai/bin/python", client.file("refunds.py", REFUNDS))
        code = gateway.pending(tool="tickets__refund")["code"]
        # The very thing that is tried: that time passes.
        concurrent.futures.wait([call], HELD)
        checks.check(f"openai-agents, {transport}: it still waits after {HELD} s", not call.done(), call)
        gateway.ok("approvals", "approve", code, "--yes")
        answer = call.result()
    checks.check(f"openai-agents, {transport}: approved, the call is answered", "amount_cents" in answer, answer)


def main() -> int:
    gateway = kit.Gateway(kit.binary(*sys.argv[1:2]))
    names = known(gateway)
    checks.check("it knows every client that is tried here", {*(name for name, _ in IN_PYTHON), *IN_NODE, *PROGRAMS, "codex", "inspector", "claude-desktop"} <= set(names), names)
    for name in names:
        with checks.guard(f"{name}: what is printed"):
            is_readable(gateway, name)
    token = gateway.ok("agents", "token", "demo")
    connect(gateway, token)
    for transport in WAYS:
        with checks.guard(f"openai-agents, {transport}: it waits"):
            waits(gateway, token, transport)
    with checks.guard("the record"):
        ways = {outcome["transport"] for outcome in record.outcomes_of(gateway, "demo")}
        checks.equal("they came over both transports", ways, {"http", "stdio"})
        record.judge(checks, gateway, {"the token": token}, heard)
    gateway.stop()
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
