"""What the scripts outside cargo share: checks that print, a gateway in a folder of its own, its command line, a raw agent."""

import atexit
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def binary(given=None):
    """The binary under test: as given, else the release build, else the debug build."""
    for path in [given] if given else [ROOT / "target/release/bailiwick", ROOT / "target/debug/bailiwick"]:
        if os.access(path, os.X_OK):
            return Path(path).resolve()
    sys.exit("there is no bailiwick binary: `cargo build --release` makes it")


class Checks:
    """Counts what holds and what does not, and says each."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, holds, seen=""):
        """One line: `ok NAME`, or `FAILED NAME` with what was seen instead."""
        if holds:
            self.passed += 1
            print(f"ok     {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED {name}\n       saw: {seen}", flush=True)
        return bool(holds)

    def equal(self, name, seen, wanted):
        """`seen` must be `wanted`."""
        return self.check(name, seen == wanted, f"{seen!r} instead of {wanted!r}")

    def guard(self, name):
        """A group of checks: an exception in it is one more failure, and the rest goes on."""
        return _Guard(self, name)

    def end(self):
        """The last line, and the exit code."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


class _Guard:
    def __init__(self, checks, name):
        self.checks = checks
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, kind, fault, trace):
        if kind is None or not issubclass(kind, Exception):
            return False
        while inner := getattr(fault, "exceptions", None):
            fault = inner[0]
            kind = type(fault)
        at = trace = fault.__traceback__ or trace
        while at.tb_next and at.tb_next.tb_frame.f_code.co_filename == trace.tb_frame.f_code.co_filename:
            at = at.tb_next
        self.checks.check(self.name, False, f"{kind.__name__} at line {at.tb_lineno}: {fault}")
        return True


def until(what, found, patience=30.0):
    """Asks again until there is an answer, which it returns; fails after `patience` seconds."""
    give_up = time.monotonic() + patience
    while True:
        answer = found()
        if answer:
            return answer
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what} did not come within {patience:g} s")
        time.sleep(0.05)


def folder():
    """A folder that goes when the script does."""
    path = Path(tempfile.mkdtemp(prefix="bailiwick-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gateway:
    """A gateway in a folder of its own; without `config` the embedded demo."""

    def __init__(self, program, config=None, env=None, under=()):
        self.program = program
        self.folder = folder()
        self.config = None
        if config is not None:
            self.config = self.folder / "config.toml"
            self.config.write_text(config)
        self.data = self.folder / ("bailiwick" if config is not None else "bailiwick/demo")
        usual = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        ports = {"BAILIWICK_SERVER__LISTEN": f"127.0.0.1:{free_port()}", "BAILIWICK_SERVER__CONSOLE": f"127.0.0.1:{free_port()}"}
        self.env = {**usual, **ports, **(env or {})}
        self.under = list(under)
        self.child = None
        self.said = ""
        self.start()
        atexit.register(self.stop)

    def start(self):
        """Starts it, and waits until it has printed its banner to the end."""
        config = ["--config", str(self.config)] if self.config else []
        self.said = ""
        command = [*self.under, str(self.program), *config, "run"]
        self.child = subprocess.Popen(command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        threading.Thread(target=self._listen, args=(self.child,), daemon=True).start()
        last = r"health\s+\S+/metrics.*\n" if self.config else r"audit verify\s*\n"

        def is_up():
            if self.child.poll() is not None:
                time.sleep(0.1)
                raise RuntimeError(f"the gateway ended with {self.child.returncode}:\n{self.said}")
            return re.search(last, self.said)

        until("the gateway's banner", is_up, 60)
        self.url = re.search(r"MCP at (\S+)", self.said)[1]
        self.console = re.search(r"health\s+(\S+)/metrics", self.said)[1]

    def _listen(self, child):
        for line in child.stderr:
            self.said += line.decode(errors="replace")

    def stop(self):
        """Ends it as an operator would, and if that does not work, hard. Only this process, by its id."""
        if self.child is None or self.child.poll() is not None:
            return
        # Under a tracer the gateway is the tracer's child.
        for pid in self.pids() if self.under else [self.child.pid]:
            os.kill(pid, signal.SIGTERM)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def pids(self):
        """Its process id, where it runs under another program."""
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def command(self, *words):
        """The command line over this gateway, as an operator types it."""
        config = ["--config", str(self.config)] if self.config else []
        return [str(self.program), *config, "--data", str(self.data), *words]

    def run(self, *words, **more):
        """Runs a command to its end."""
        return subprocess.run(self.command(*words), env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **more)

    def ok(self, *words):
        """Runs a command that must succeed; its standard output, trimmed."""
        done = self.run(*words)
        if done.returncode:
            raise RuntimeError(f"`{' '.join(words)}` ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def json(self, *words):
        """What a command answers with `--json`."""
        return json.loads(self.ok(*words, "--json"))

    def pending(self, besides=(), tool=None):
        """The one open approval, other than these codes, once somebody asks."""

        def found():
            open_now = [one for one in self.json("approvals", "list") if one["state"] == "pending"]
            return [one for one in open_now if one["code"] not in besides and tool in (None, one["tool"])]

        return until("a question to an approver", found, 20)[0]

    def metrics(self):
        """The text of /metrics."""
        with_host = urllib.parse.urlsplit(self.console)
        connection = http.client.HTTPConnection(with_host.netloc, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def metric(self, row):
        """A counter of /metrics."""
        line = next(line for line in self.metrics().splitlines() if line.startswith(row))
        return int(line.rsplit(" ", 1)[1])

    def tail(self, lines=30):
        """The end of what it said on standard error."""
        return "\n".join(f"       | {line}" for line in self.said.splitlines()[-lines:])

    def agent(self, name):
        """An agent with a fresh token."""
        return Agent(self.url, self.ok("agents", "token", name))


class Agent:
    """Raw MCP of 2026-07-28 over one kept connection: says what no well-behaved client says."""

    def __init__(self, url, token):
        self.where = urllib.parse.urlsplit(url)
        self.token = token
        self.connection = None
        self.used_at = 0.0
        self.last_id = 0

    def request(self, method, params):
        """The whole JSON-RPC answer."""
        self.last_id += 1
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
        body = {"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": {**params, "_meta": {**meta, **params.get("_meta", {})}}}
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
        }
        if "name" in params:
            headers["Mcp-Name"] = params["name"]
        # The gateway closes a connection that nobody uses for a while.
        if self.connection is None or time.monotonic() - self.used_at > 5:
            self.connection = http.client.HTTPConnection(self.where.netloc, timeout=90)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.request("POST", self.where.path, json.dumps(body), headers)
        answer = self.connection.getresponse().read()
        self.used_at = time.monotonic()
        return json.loads(answer)

    def call(self, tool, arguments, **meta):
        """A call of a tool."""
        return self.request("tools/call", {"name": tool, "arguments": arguments, "_meta": meta})

    def beside(self):
        """The same agent over a connection of its own, for a call that is held."""
        return Agent(urllib.parse.urlunsplit(self.where), self.token)


def words(answer):
    """The text of a tool's result; empty for an error."""
    content = answer.get("result", {}).get("content") or [{}]
    return content[0].get("text", "")
