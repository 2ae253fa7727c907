"""The gateway's process, what operators say to it, and what agents do, each without a moment lost."""

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODERN, OLDER = "2026-07-28", "2025-11-25"

CONFIG = """
[server]
listen = "127.0.0.1:{port}"
console = "127.0.0.1:0"
max_rate_per_agent = 0
max_calls_per_agent = 256

[console]
enabled = false

[approvals]
approve_by = "8h"
execute_by = "8h"
deny_cooldown = "8h"
hold = "20s"
max_pending_per_agent = 1000
max_asked_per_hour = 100000
max_denied_in_row = 1000
remember = true
# Agents and the operator are one user here.
allow_same_user = true

[policy]
files = ["own.cedar"]

[[agents]]
id = "held"
owner = "team@example.com"
ceiling = "high"

[[agents]]
id = "quick"
owner = "team@example.com"
ceiling = "high"
hold = "0s"

[[connectors]]
id = "work"
command = ["{python}", "-I", "-S", "{here}/downstream.py", "{folder}/executed", "{folder}/generation"]
shared = true
protocol = "legacy"
pin = "first-use"
tools.act = {{ kind = "write", band = "high", labels = [] }}
tools.like = {{ kind = "write", band = "medium", labels = [] }}

[[connectors]]
id = "safe"
command = ["{python}", "-I", "-S", "{here}/downstream.py", "{folder}/executed", "{folder}/generation"]
protocol = "legacy"
pin = "first-use"
credential = {{ provider = "file", path = "{folder}/locker", inject = {{ env = "LOCKER" }} }}
tools.act = {{ kind = "write", band = "high", labels = [] }}
tools.like = {{ kind = "write", band = "medium", labels = [] }}

[[grants]]
id = "held"
agent = "held"
purpose = "be killed"
tools = ["work__*", "safe__*"]
default = true
ttl = "24h"

[[grants]]
id = "quick"
agent = "quick"
purpose = "be killed"
tools = ["work__*", "safe__*"]
default = true
ttl = "24h"
"""

POLICY = """@id("likes") @approval("likes") @remember @reason("somebody is to look")
forbid (principal, action == Bailiwick::Action::"work__like", resource)
unless { context.call.approvals.contains("likes") };
"""


class Broken(Exception):
    """The connection ended before there was an answer."""


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout=60):
        super().__init__("socket", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Gateway:
    """A data folder, and the gateway that runs on it now."""

    def __init__(self, program, folder, rng):
        self.program, self.folder, self.data = str(program), folder, folder / "bailiwick"
        self.port = free_port(rng)
        self.generation, self.child, self.is_dying, self.credential = 0, None, True, ""
        self.log = folder / "gateway.log"
        (folder / "own.cedar").write_text(POLICY)
        os.close(os.open(folder / "executed", os.O_WRONLY | os.O_CREAT, 0o600))
        self.fill_locker()
        config = CONFIG.format(port=self.port, python=sys.executable, here=HERE, folder=folder)
        (folder / "config.toml").write_text(config)
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}

    def fill_locker(self):
        """The credential is there, at once and whole."""
        new = self.folder / "locker.new"
        new.write_text("a-secret-of-the-safe-1234567890\n")
        new.chmod(0o600)
        new.rename(self.folder / "locker")

    def empty_locker(self):
        (self.folder / "locker").unlink(missing_ok=True)

    def command(self, *words):
        return [self.program, "--config", str(self.folder / "config.toml"), *words]

    def spawn(self):
        """Starts it, and does not wait for anything."""
        self.generation += 1
        (self.folder / "generation").write_text(str(self.generation))
        with self.log.open("ab") as log:
            log.write(f"-- life {self.generation}\n".encode())
            log.flush()
            where = {"env": self.env, "cwd": self.folder, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.child = subprocess.Popen(self.command("run"), **where)
        self.is_dying = False

    def wait_until_up(self):
        give_up = time.monotonic() + 60
        while True:
            if self.child.poll() is not None:
                raise RuntimeError(f"the gateway did not start, it ended with {self.child.returncode}: {self.said()[-1500:]}")
            try:
                self.get("status")
                # The listener of agents is bound before this one.
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                break
            except (Broken, OSError):
                if time.monotonic() > give_up:
                    raise RuntimeError(f"the gateway did not start in a minute: {self.said()[-1500:]}") from None
                time.sleep(0.005)
        self.credential = (self.data / "operator.key").read_bytes().hex()

    def kill(self):
        """SIGKILL, now. It must have been alive."""
        self.is_dying = True
        was_alive = self.child.poll() is None
        self.child.kill()
        self.child.wait()
        return was_alive

    def stop(self):
        """As an operator ends it."""
        self.is_dying = True
        self.child.terminate()
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def said(self):
        return self.log.read_text(errors="replace")

    def run(self, *words):
        """A command, to its end."""
        where = {"env": self.env, "cwd": self.folder, "stdin": subprocess.DEVNULL}
        return subprocess.run(self.command(*words), **where, capture_output=True, text=True, timeout=120, check=False)

    def admin(self, method, path, body=None):
        """Status and answer of the admin API."""
        connection = Unix(self.data / "admin.sock")
        try:
            headers = {"Authorization": f"Operator {self.credential}", "Content-Type": "application/json"}
            text = None if body is None else json.dumps(body)
            # Who only looks shows nothing.
            connection.request(method, f"/api/v1/{path}", text, headers if text else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as fault:
            raise Broken(repr(fault)) from fault
        finally:
            connection.close()

    def get(self, path):
        status, answer = self.admin("GET", path)
        if status != 200:
            raise RuntimeError(f"GET {path}: {status} {answer}")
        return answer

    def post(self, path, body):
        """What must be done."""
        status, answer = self.admin("POST", path, body)
        if status != 200:
            raise RuntimeError(f"POST {path}: {status} {answer}")
        return answer

    def show(self, handle):
        """An approval with its arguments; nothing where they are no longer kept."""
        status, answer = self.admin("GET", f"approvals/{urllib.parse.quote(handle)}")
        return answer if status == 200 else None


class Agent:
    """One agent's calls in one version of the protocol, within one life of the gateway."""

    def __init__(self, gateway, token, era):
        self.gateway, self.token, self.era = gateway, token, era
        self.session, self.lock = None, threading.Lock()

    def call(self, tool, arguments):
        """The answer to a call, over a connection of its own."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def ask(self, method, params):
        if self.era == OLDER:
            with self.lock:
                if self.session is None:
                    self.begin()
        return self.exchange(method, params)[1]

    def begin(self):
        hello = {"protocolVersion": OLDER, "capabilities": {}, "clientInfo": {"name": "crash", "version": "1"}}
        headers, answer = self.exchange("initialize", hello)
        self.session = headers.get("Mcp-Session-Id")
        if "result" not in answer:
            raise RuntimeError(f"no session: {answer}")
        self.exchange("notifications/initialized", None)

    def message(self, method, params):
        body = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
            body |= {"id": random.randrange(1, 10**9), "params": {**params, "_meta": meta} if self.era == MODERN else params}
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        headers["Accept"] = "application/json, text/event-stream"
        if method != "initialize":
            headers["MCP-Protocol-Version"] = self.era
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        if self.era == MODERN:
            headers["Mcp-Method"] = method
            if params and "name" in params:
                headers["Mcp-Name"] = params["name"]
        return json.dumps(body), headers

    def exchange(self, method, params):
        body, headers = self.message(method, params)
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.request("POST", "/mcp", body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as fault:
            raise Broken(repr(fault)) from fault
        finally:
            connection.close()
        if params is None:
            return response.headers, None
        if response.headers.get("Content-Type", "").startswith("text/event-stream"):
            events = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
            if not events:
                raise Broken("a stream without an answer")
            text = events[-1]
        return response.headers, json.loads(text)

    def call_unread(self, tool, arguments):
        """A call whose client goes away when the answer has begun to come, on the agent socket. Says whether it had begun."""
        body, headers = self.message("tools/call", {"name": tool, "arguments": arguments})
        head = [f"POST /mcp HTTP/1.1\r\nHost: agent\r\nContent-Length: {len(body)}\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in headers.items()]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
                stream.settimeout(60)
                stream.connect(str(self.gateway.data / "agent.sock"))
                stream.sendall(("".join(head) + "\r\n" + body).encode())
                begun = stream.recv(64)
        except OSError as fault:
            raise Broken(repr(fault)) from fault
        if not begun:
            raise Broken("no answer")
        return begun.startswith(b"HTTP/1.1 200")


def free_port(rng):
    """A port that no client is given by chance: below those."""
    while True:
        port = rng.randrange(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
