"""One real client in depth: the Python SDK over HTTP and stdio in both eras, files (Node) and git (Python) behind the gateway.
Effects are looked for on disk; then servers and the gateway itself die, and stop."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

import kit

NODE = os.environ["BAILIWICK_NODE"]
MODULES = Path(os.environ["BAILIWICK_NODE_MODULES"])
FILESYSTEM = MODULES / "@modelcontextprotocol/server-filesystem/dist/index.js"
GIT_SERVER = Path(os.environ["BAILIWICK_ENVIRONMENTS"]) / "servers/bin/mcp-server-git"

# What the agent `py` is granted; everything else of the 26 tools does not exist for it.
GRANTED = ["files__list_directory", "files__read_text_file", "files__write_file", "git__git_add", "git__git_commit", "git__git_log"]
HOLD = 8

checks = kit.Checks()


def config(place):
    """The gateway's configuration over a folder with `desk/` (granted), `private/` (not) and `repo/`."""
    return f"""
[approvals]
hold = "{HOLD}s"
max_pending_per_agent = 10
# Agent and approver are one user here.
allow_same_user = true
max_asked_per_hour = 10000
max_denied_in_row = 1000

[[agents]]
id = "py"
owner = "team@example.com"
ceiling = "high"
identity = [{{ uid = {os.getuid()} }}]

[[connectors]]
id = "files"
command = ["{NODE}", "{FILESYSTEM}", "{place}"]
tools.read_text_file = {{ kind = "read", band = "low" }}

[[connectors]]
id = "git"
command = ["{GIT_SERVER}", "--repository", "{place}/repo"]
env = {{ PATH = "/usr/local/bin:/usr/bin:/bin", HOME = "{place}" }}
tools.git_log = {{ kind = "read", band = "low" }}
tools.git_add = {{ kind = "write", band = "medium" }}
tools.git_commit = {{ kind = "write", band = "high" }}

[[grants]]
id = "py-work"
agent = "py"
purpose = "write notes and commit them"
tools = {json.dumps(GRANTED)}
default = true
ttl = "1h"
args.files__read_text_file = {{ "/path" = {{ path_under = "{place}/desk" }} }}
args.files__write_file = {{ "/path" = {{ path_under = "{place}/desk" }} }}
args.git__git_log = {{ "/repo_path" = {{ eq = "{place}/repo" }} }}
args.git__git_add = {{ "/repo_path" = {{ eq = "{place}/repo" }} }}
args.git__git_commit = {{ "/repo_path" = {{ eq = "{place}/repo" }} }}
"""


def lay_out(place):
    """The files and the repository that the servers serve."""
    for part in ["desk", "private", "repo"]:
        (place / part).mkdir()
    (place / "desk/note.txt").write_text("the note, 1.0 → é\n")
    (place / "desk/large.txt").write_text("".join(f"line {n} of a large file\n" for n in range(75_000)))
    for n in range(20):
        (place / f"desk/{n}.txt").write_text(f"file {n}\n")
    (place / "private/secret.txt").write_text("not for agents\n")
    (place / "repo/README").write_text("a repository\n")
    git(place, "init", "--quiet", "--initial-branch=main")
    git(place, "config", "user.name", "tester")
    git(place, "config", "user.email", "tester@example.com")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--message=the first commit")


def git(place, *words):
    """Git itself, not the server."""
    return subprocess.run(["git", "-C", str(place / "repo"), *words], check=True, capture_output=True, text=True).stdout


def accept(gateway):
    """An operator looks at what the servers offer, and accepts it."""
    for connector, count in [("files", 14), ("git", 12)]:
        shown = gateway.run("connectors", "pin", connector, "--yes")
        print("\n".join(f"       {line}" for line in shown.stderr.splitlines()))
        checks.equal(f"{connector}: the proposal is accepted", shown.returncode, 0)
        [connector_now] = gateway.json("connectors", "show", connector)
        tools = {tool["id"]: tool for tool in connector_now["tools"]}
        callable_now = [tool for tool in tools.values() if tool["state"] == "callable"]
        checks.equal(f"{connector}: all its tools are callable", (len(tools), len(callable_now)), (count, count))
        checks.equal(f"{connector}: it offers what was accepted", gateway.run("connectors", "diff", connector).returncode, 0)

        def classes(*names):
            return [(tools[f"{connector}__{name}"]["kind"], tools[f"{connector}__{name}"]["band"]) for name in names]

        if connector == "files":
            checks.equal("files: a name's verb classes a tool", classes("list_directory", "write_file", "move_file"), [("read", "low"), ("write", "high"), ("write", "high")])
            checks.equal("files: an unknown word is execute and high", classes("directory_tree"), [("execute", "high")])
        else:
            checks.equal("git: the configuration classes a tool", classes("git_log", "git_add", "git_commit"), [("read", "low"), ("write", "medium"), ("write", "high")])
            checks.equal("git: what nobody classed is execute and high", classes("git_reset"), [("execute", "high")])


class Person:
    """The Python SDK as an agent, over one transport in one era."""

    def __init__(self, name, gateway, place, client):
        self.name, self.gateway, self.place, self.client = name, gateway, place, client
        self.codes = set()

    def check(self, what, holds, seen=""):
        checks.check(f"{self.name}: {what}", holds, seen)

    def equal(self, what, seen, wanted):
        checks.equal(f"{self.name}: {what}", seen, wanted)

    async def goes(self, version):
        """Everything that an agent may and may not do."""
        self.equal("version", self.client.protocol_version, version)
        tools = (await self.client.list_tools()).tools
        self.equal("lists exactly what is granted", sorted(tool.name for tool in tools), GRANTED)
        await self.reads()
        await self.is_refused()
        await self.writes()
        await self.gives_up()
        await self.commits()

    async def reads(self):
        note = await self.client.call_tool("files__read_text_file", {"path": f"{self.place}/desk/note.txt"})
        self.equal("reads a file, to the letter", (note.is_error, text(note)), (False, "the note, 1.0 → é\n"))
        log = await self.client.call_tool("git__git_log", {"repo_path": f"{self.place}/repo", "max_count": 50})
        self.check("reads the log of the repository", not log.is_error and "the first commit" in text(log), text(log))

        large = await self.client.call_tool("files__read_text_file", {"path": f"{self.place}/desk/large.txt"})
        self.check("reads 2 MB, to the letter", text(large) == (self.place / "desk/large.txt").read_text(), f"{len(text(large))} characters")
        several = [self.client.call_tool("files__read_text_file", {"path": f"{self.place}/desk/{n}.txt"}) for n in range(20)]
        answers = [text(answer) for answer in await asyncio.gather(*several)]
        self.equal("20 calls at once each get their own answer", answers, [f"file {n}\n" for n in range(20)])

    async def is_refused(self):
        faults = {}
        for tool in ["files__move_file", "git__git_reset", "files__no_such_tool"]:
            try:
                answer = await self.client.call_tool(tool, {"source": f"{self.place}/desk/note.txt", "destination": f"{self.place}/desk/gone.txt"})
                faults[tool] = ("a result", text(answer))
            except MCPError as fault:
                faults[tool] = (fault.code, fault.message.replace(tool, "X"))
        self.equal("an ungranted tool does not exist", faults["files__move_file"][0], -32602)
        self.equal("an ungranted tool is answered as an absent one", {faults["files__move_file"], faults["git__git_reset"]}, {faults["files__no_such_tool"]})
        last = [record.get("tool") for record in self.gateway.json("audit", "tail", "-n", "20", "--stream", "decisions")]
        self.check("it was the gateway that refused", "files__move_file" in last, last)
        self.check("nothing was moved", (self.place / "desk/note.txt").exists())
        for path in [f"{self.place}/private/secret.txt", f"{self.place}/desk/../private/secret.txt"]:
            outside = await self.client.call_tool("files__read_text_file", {"path": path})
            said = text(outside)
            fits = outside.is_error and "/path" in said and "grant" in said and "not for agents" not in said
            self.check("an argument out of bounds is refused, with its place", fits, said)
        wrong = await self.client.call_tool("files__read_text_file", {"path": f"{self.place}/desk/note.txt", "head": "one"})
        self.check("an argument of the wrong type is refused, with its place", wrong.is_error and "/head" in text(wrong), text(wrong))

    async def writes(self):
        """Held, approved by somebody else's process, done once."""
        file = self.place / f"desk/{self.name}.txt"
        arguments = {"path": str(file), "content": f"written by {self.name}\n"}
        call, asked = await self.asks("files__write_file", arguments)
        self.check("a risky write is held, and nothing is written", not call.done() and not file.exists(), call)
        [shown] = self.gateway.json("approvals", "show", asked["code"])
        self.equal("the approver sees the very arguments", json.loads(shown["arguments"]), arguments)
        self.gateway.ok("approvals", "approve", asked["code"], "--yes")
        done = await call
        self.check("approved, the held call goes on", not done.is_error, text(done))
        self.equal("it is written", file.read_text() if file.exists() else None, arguments["content"])
        [approval] = self.gateway.json("approvals", "show", asked["code"])
        self.equal("the approval is used up", approval["state"], "succeeded")
        file.unlink()
        call, again = await self.asks("files__write_file", arguments)
        self.check("the same call asks again", again["code"] != asked["code"], again)
        self.gateway.ok("approvals", "deny", again["code"], "--reason", "once is enough")
        denied = await call
        self.check("denied, it hears why", denied.is_error and "once is enough" in text(denied), text(denied))
        self.check("nothing is written a second time", not file.exists())

    async def gives_up(self):
        """The client's patience ends before the approver's: the question stays, nothing is done behind its back, and the same
        call picks the approval up."""
        file = self.place / f"desk/late-{self.name}.txt"
        arguments = {"path": str(file), "content": "late\n"}
        call = asyncio.create_task(self.client.session.call_tool("files__write_file", arguments, read_timeout_seconds=1))
        asked = await asyncio.to_thread(self.gateway.pending, self.codes, "files__write_file")
        self.codes.add(asked["code"])
        try:
            self.check("a client gives up on a held call", False, text(await call))
        except MCPError as fault:
            self.check("a client gives up on a held call", "timed out" in fault.message, fault.message)
        # Its word that it has gone is on its way.
        await asyncio.sleep(0.5)
        await asyncio.to_thread(self.gateway.ok, "approvals", "approve", asked["code"], "--yes")
        await asyncio.sleep(0.5)
        quiet = not file.exists()
        self.check("approved then, nothing is done for nobody", quiet)
        done = await self.client.call_tool("files__write_file", arguments)
        self.check("the same call takes the approval up", not done.is_error and file.exists(), text(done))

    async def commits(self):
        """Through the other server: a write that needs nobody, and one that does."""
        (self.place / f"repo/{self.name}").write_text("work\n")
        repo = f"{self.place}/repo"
        added = await self.client.call_tool("git__git_add", {"repo_path": repo, "files": [self.name]})
        self.check("adds to the index without being asked", not added.is_error and self.name in git(self.place, "diff", "--cached", "--name-only"), text(added))
        before = git(self.place, "rev-parse", "HEAD")
        call, asked = await self.asks("git__git_commit", {"repo_path": repo, "message": f"work of {self.name}"})
        self.equal("a commit is held", git(self.place, "rev-parse", "HEAD"), before)
        self.gateway.ok("approvals", "approve", asked["code"], "--yes")
        done = await call
        log = git(self.place, "log", "-1", "--format=%s")
        self.check("approved, it is in the log", not done.is_error and log.strip() == f"work of {self.name}", (text(done), log))

    async def asks(self, tool, arguments):
        """A call that is held, and the question that it makes."""
        call = asyncio.create_task(self.client.call_tool(tool, arguments))
        await asyncio.sleep(0)
        asked = await asyncio.to_thread(self.gateway.pending, self.codes, tool)
        self.codes.add(asked["code"])
        return call, asked


def text(result):
    """The words of a result."""
    return "".join(part.text for part in result.content if part.type == "text")


async def sdk(gateway, place):
    """Both transports, both eras."""
    token = gateway.ok("agents", "token", "py")
    bridge = StdioServerParameters(command=str(gateway.program), args=gateway.command("stdio", "--agent", "py")[1:], env=gateway.env)
    for transport in ["http", "stdio"]:
        for mode, version in [("legacy", "2025-11-25"), ("auto", "2026-07-28")]:
            name = f"{transport}-{version}"
            with checks.guard(f"{name}: it goes through"):
                if transport == "stdio":
                    async with Client(bridge, mode=mode) as client:
                        await asyncio.wait_for(Person(name, gateway, place, client).goes(version), 60)
                    continue
                async with create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http:
                    async with Client(streamable_http_client(gateway.url, http_client=http), mode=mode) as client:
                        await asyncio.wait_for(Person(name, gateway, place, client).goes(version), 60)


async def outlives(gateway, place):
    """Clients on stdio whose gateway is started anew under them: they have no way to open another session."""
    bridge = StdioServerParameters(command=str(gateway.program), args=gateway.command("stdio", "--agent", "py")[1:], env=gateway.env)
    for mode, version in [("legacy", "2025-11-25"), ("auto", "2026-07-28")]:
        async with Client(bridge, mode=mode) as client:
            await client.list_tools()
            await asyncio.to_thread(gateway.stop)
            await asyncio.to_thread(gateway.start)
            try:
                answer = text(await client.call_tool("files__read_text_file", {"path": f"{place}/desk/note.txt"}))
            except MCPError as fault:
                answer = fault.message
        name = f"stdio-{version}: a client goes on after the gateway was started anew"
        checks.check(name, "the note" in answer, answer)


def servers(gateway):
    """The processes of the servers: pid by connector."""
    return {one["id"]: process["id"] for one in gateway.json("connectors", "list") for process in one["processes"] if process["grant"] == "py-work"}


def is_alive(pid):
    """Whether a process runs; one that has ended and is not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(gateway, agent, place):
    """Servers that die, a gateway that dies, a gateway that stops."""
    note = {"path": f"{place}/desk/note.txt"}
    before = servers(gateway)["files"]
    os.kill(before, signal.SIGKILL)
    kit.until("the server's end", lambda: servers(gateway).get("files") != before)

    def reads():
        return "the note" in kit.words(agent.beside().call("files__read_text_file", note))

    # After a death the first calls may hear that the server rests for a moment.
    kit.until("an answer", reads, 5)
    checks.check("a server that died is started again", servers(gateway).get("files") not in (None, before))
    last = servers(gateway)
    gateway.child.kill()
    gateway.child.wait()
    kit.until("the servers' end", lambda: not any(is_alive(pid) for pid in last.values()), 5)
    checks.check("a gateway that is killed takes its servers with it", True)
    verified = gateway.run("audit", "verify")
    checks.check("its record verifies", verified.returncode == 0 and "OK" in verified.stdout, verified)
    gateway.start()
    checks.check("started again, pins, grants and tokens are as they were", reads())
    last = servers(gateway)
    began = time.monotonic()
    gateway.stop()
    took = time.monotonic() - began
    checks.check(f"it stops in time ({took:.1f} s), and its servers with it", took < 8 and last and not any(is_alive(pid) for pid in last.values()), (took, last))


def main():
    place = kit.folder().resolve()
    lay_out(place)
    gateway = kit.Gateway(kit.binary(*sys.argv[1:2]), config(place))
    agent = gateway.agent("py")
    checks.equal("before anything is accepted there is no tool", agent.request("tools/list", {})["result"]["tools"], [])
    accept(gateway)
    asyncio.run(sdk(gateway, place))
    with checks.guard("the record"):
        verified = gateway.run("audit", "verify")
        checks.check("the record verifies while the gateway runs", verified.returncode == 0 and "OK" in verified.stdout, verified)
    with checks.guard("the gateway is started anew"):
        asyncio.run(outlives(gateway, place))
    with checks.guard("the end"):
        ends(gateway, agent, place)
        verified = gateway.run("audit", "verify")
        checks.check("the record verifies after the stop", verified.returncode == 0 and "OK" in verified.stdout, verified)
    return checks.end()


sys.exit(main())
