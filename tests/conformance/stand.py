"""What a cell is made of: the fixtures' server, a gateway before it, and what stands between the suite and the gateway."""

import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "real"))
import kit  # noqa: E402
from suite import NODE  # noqa: E402

AGENT = CONNECTOR = "suite"
READY = 60  # seconds


class Program:
    """A program of ours that prints its port when it is ready, and ends when it is left."""

    def __init__(self, script, *words, log, env=None):
        command = [NODE, str(HERE / script), *map(str, words)]
        self.log = log.open("a")
        self.child = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        said = self.child.stdout.readline()
        if not said.strip().isdigit():
            raise RuntimeError(f"{script} did not start:\n{log.read_text()}")
        self.port = int(said)

    def stop(self):
        """Ends it. Only this process, by its id."""
        self.child.stdin.close()
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()
        self.log.close()


def tool_names():
    """The names of the fixtures' tools, as their server writes them."""
    script = "import('./downstream/tools.mjs').then(({ TOOLS }) => console.log(TOOLS.map(tool => tool.name).join(' ')))"
    return subprocess.run([NODE, "-e", script], cwd=HERE, capture_output=True, text=True, check=True, timeout=READY).stdout.split()


def config(downstream, outside):
    """Everything is allowed to the one agent, and nobody is asked."""
    tools = "\n".join(f'tools.{name} = {{ kind = "read", band = "low", labels = [] }}' for name in tool_names())
    origins = [f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in outside]
    return f"""
[server]
max_rate_per_agent = 0
allowed_hosts = [{", ".join(f'"localhost:{port}"' for port in outside)}]
allowed_origins = [{", ".join(f'"{origin}"' for origin in origins)}]

[[agents]]
id = "{AGENT}"
owner = "conformance@example.com"
ceiling = "critical"
identity = [{{ uid = {os.getuid()} }}]

[[connectors]]
id = "{CONNECTOR}"
url = "http://127.0.0.1:{downstream}/mcp"
pin = "first-use"
labels = []
prefix = "never"
features.resource_read = {{ kind = "read", band = "low", labels = [] }}
features.prompt_get = {{ kind = "read", band = "low", labels = [] }}
features.complete = {{ kind = "read", band = "low", labels = [] }}
features.elicitation = {{ kind = "read", band = "low" }}
features.sampling = {{ kind = "read", band = "low" }}
features.roots = {{ kind = "read", band = "low" }}
{tools}

[[grants]]
id = "{AGENT}"
agent = "{AGENT}"
purpose = "be held against the specification"
tools = ["{CONNECTOR}__*", "{CONNECTOR}/resource_read", "{CONNECTOR}/prompt_get", "{CONNECTOR}/complete", "{CONNECTOR}/elicitation", "{CONNECTOR}/sampling", "{CONNECTOR}/roots"]
default = true
"""


class Stand:
    """Programs that are started one after the other, and ended when it is left, the last one first."""

    def __init__(self, log):
        self.log = log
        self.running = []

    def add(self, script, *words, log="between.log", env=None):
        """Starts one of ours."""
        program = Program(script, *words, log=self.log / log, env=env)
        self.running.append(program)
        return program

    def __enter__(self):
        try:
            self.url = f"http://localhost:{self.start()}/mcp"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for program in reversed(self.running):
            program.stop()


class Direct(Stand):
    """Only the fixtures' server, and what will stand between: what these are worth."""

    def __init__(self, transport, log):
        super().__init__(log)
        self.transport = transport

    def start(self):
        """The port for the suite."""
        downstream = self.add("downstream/server.mjs", "dual", log="downstream.log")
        inner = kit.free_port()
        if self.transport == "http":
            self.add("between/authorize.mjs", inner, downstream.port, env={"TOKEN": "of no use"})
        else:
            self.add("between/lines.mjs", inner, NODE, HERE / "downstream/bridge.mjs", downstream.port)
        return inner


class Through(Stand):
    """The fixtures' server behind a gateway."""

    def __init__(self, program, speaks, transport, log):
        super().__init__(log)
        self.program, self.speaks, self.transport = program, speaks, transport

    def start(self):
        """The port for the suite."""
        downstream = self.add("downstream/server.mjs", self.speaks, log="downstream.log")
        inner = kit.free_port()
        gateway = kit.Gateway(self.program, config(downstream.port, [inner]))
        self.running.append(gateway)
        if self.transport == "http":
            target = urllib.parse.urlsplit(gateway.url).port
            self.add("between/authorize.mjs", inner, target, env={"TOKEN": gateway.ok("agents", "token", AGENT)})
        else:
            self.add("between/lines.mjs", inner, *gateway.command("stdio", "--agent", AGENT), env=gateway.env)
        return inner

    def __exit__(self, *_):
        super().__exit__()
        for gateway in (one for one in self.running if isinstance(one, kit.Gateway)):
            (self.log / "gateway.log").write_text(gateway.said)
