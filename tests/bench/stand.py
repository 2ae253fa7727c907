"""The stand of the bench: an upstream, a bare proxy, a collector of traces, and a gateway with everything on."""

import http.server
import os
import pathlib
import signal
import subprocess
import threading
import time
import urllib.request

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "bailiwick-bench"
UPSTREAM, FLOOR, AGENTS, CONSOLE = 9001, 9100, 9200, 9201
POLICIES = 200


def build(bench_dir: pathlib.Path) -> pathlib.Path:
    """Builds the programs of the bench; their folder stays as it is."""
    target = CACHE / "target"
    manifest = bench_dir / "Cargo.toml"
    lock = bench_dir / "Cargo.lock"
    source = CACHE / "source"
    if not lock.exists():
        # Cargo would write its lock file beside the manifest.
        source.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", f"{bench_dir}/src", str(manifest), str(source)], check=True)
        manifest = source / "Cargo.toml"
    subprocess.run(["cargo", "build", "--release", "--quiet", "--manifest-path", str(manifest), "--target-dir", str(target)], check=True)
    return target / "release"


class Stand:
    """Started when entered, ended when left."""

    def __init__(self, folder: pathlib.Path, tools: pathlib.Path, binary: pathlib.Path, upstream_tools: int, lends: bool = False) -> None:
        """`lends`: the same upstream once more, as the connector `lent`, with a credential made for the task in each request."""
        self.folder, self.tools, self.binary, self.upstream_tools, self.lends = folder, tools, binary, upstream_tools, lends
        self.processes: list[subprocess.Popen] = []
        self.collector = Collector()

    def __enter__(self) -> "Stand":
        self.folder.mkdir(parents=True)
        self.collector.start()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        upstream = f"http://127.0.0.1:{UPSTREAM}"
        self._spawn("upstream", [self.tools / "mock-upstream", "--port", str(UPSTREAM), "--tools", str(self.upstream_tools)])
        self.floor = self._spawn("floor", [self.tools / "floor-proxy", "--port", str(FLOOR), "--upstream", upstream])
        wait_for(lambda: get(f"{upstream}/stats"))
        names = ["echo", *(f"tool_{number:04}" for number in range(1, self.upstream_tools))]
        connectors = ["mock", "lent"] if self.lends else ["mock"]
        if self.lends:
            self._issuer()
        (self.folder / "bench.cedar").write_text(policies(connectors, names[:10 // len(connectors)]))
        (self.folder / "config.toml").write_text(config(upstream, names, self.collector.port, self.folder / "issuer" if self.lends else None))
        ours = [self.binary, "--config", self.folder / "config.toml", "--data", self.folder / "data"]
        self.gateway = self._spawn("gateway", [*ours, "run"])
        wait_for(lambda: get(f"http://127.0.0.1:{CONSOLE}/readyz"), self.gateway, self.folder / "gateway.log")
        token = subprocess.run([*ours, "agents", "token", "bench"], check=True, capture_output=True, text=True).stdout
        (self.folder / "token").write_text(token)

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        self.collector.stop()

    def _issuer(self) -> None:
        """A program that makes a token of 256 bits, good for as long as is asked, and notes for which grant."""
        program = self.folder / "issuer"
        program.write_text(ISSUER)
        program.chmod(0o700)

    def minted(self) -> int:
        """How often a credential was made for the task."""
        return (self.folder / "minted").read_text().splitlines().count("bench")

    def side(self, name: str) -> tuple[str, int, list[str]]:
        """Where to send the load, whose CPU to read, and further options."""
        if name == "floor":
            return f"http://127.0.0.1:{FLOOR}/mcp", self.floor.pid, []
        return f"http://127.0.0.1:{AGENTS}/mcp", self.gateway.pid, ["--bearer-file", str(self.folder / "token")]

    def rss_mib(self) -> float:
        status = pathlib.Path(f"/proc/{self.gateway.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) / 1024

    def faults(self) -> list[str]:
        """What would make the figures worth nothing."""
        faults = []
        if not self.collector.received:
            faults.append("no span reached the collector")
        metrics = get(f"http://127.0.0.1:{CONSOLE}/metrics")
        dropped = next((line.split()[-1] for line in metrics.splitlines() if 'outcome="dropped"' in line), "0")
        if dropped != "0":
            faults.append(f"{dropped} spans were dropped: what is not exported costs nothing")
        verify = [self.binary, "--config", self.folder / "config.toml", "--data", self.folder / "data", "audit", "verify"]
        checked = subprocess.run(verify, capture_output=True, text=True)
        if checked.returncode != 0:
            faults.append(f"audit verify: {checked.stdout}{checked.stderr}")
        return faults

    def _spawn(self, name: str, command: list) -> subprocess.Popen:
        log = (self.folder / f"{name}.log").open("w")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "BAILIWICK_"))}
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self.processes.append(process)
        return process


class Collector:
    """Takes traces in, and only counts their bytes."""

    def __init__(self) -> None:
        self.received = 0
        counter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # the name is the library's
                counter.received += len(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def start(self) -> None:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


ISSUER = """#!/usr/bin/env python3
import datetime, json, pathlib, secrets, sys
asked = json.load(sys.stdin)["spec"]
with (pathlib.Path(__file__).parent / "minted").open("a") as count:
    count.write(asked.get("grant", "none") + "\\n")
ends = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=asked["ttlSeconds"])).strftime("%Y-%m-%dT%H:%M:%SZ")
status = {"token": secrets.token_hex(32), "expirationTimestamp": ends}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


def config(upstream: str, names: list[str], collector: int, issuer: pathlib.Path | None) -> str:
    lent = f'''
[[providers]]
id = "issuer"
exec = {{ command = ["{issuer}"], env = ["PATH"], revocable = false }}

[[connectors]]
id = "lent"
url = "{upstream}/mcp"
pin = "first-use"
credential = {{ provider = "issuer", inject = {{ header = "Authorization", prefix = "Bearer " }} }}
TOOLS
''' if issuer else ""
    tools = "\n".join(f'tools.{name} = {{ kind = "read", band = "low", labels = [] }}' for name in names)
    return f"""
[server]
listen = "127.0.0.1:{AGENTS}"
console = "127.0.0.1:{CONSOLE}"
max_rate_per_agent = 0
max_calls_per_agent = 256

[policy]
files = ["bench.cedar"]

[telemetry]
endpoint = "http://127.0.0.1:{collector}"

[[agents]]
id = "bench"
owner = "bench@example.com"

[[connectors]]
id = "mock"
url = "{upstream}/mcp"
pin = "first-use"
{tools}

[[grants]]
id = "bench"
agent = "bench"
purpose = "be measured"
tools = ["mock__*"{', "lent__*"' if issuer else ""}]
default = true
{lent.replace("TOOLS", tools)}"""


def policies(connectors: list[str], tools: list[str]) -> str:
    """200 rules: 65 of 100 permit, 25 forbid, 10 ask for an approver. About 15 matter to each of ten tools. Those of every third tool
    read arguments and counters; none of the conditions holds for what the bench calls, but for the permits' own."""
    rules: list[str] = []
    for at, name in ((at, f"{connector}__{tool}") for connector in connectors for at, tool in enumerate(tools)):
        scope = f'principal, action == Bailiwick::Action::"{name}", resource'
        reads = at % 3 == 1
        for number in range(8):
            when = f"context.input has count && context.input.count < {number}" if reads else f'principal.purpose == "purpose {number}"'
            rules.append(f'@id("{name}-permit-{number}")\npermit ({scope}) when {{ {when} }};')
        for number in range(4):
            when = f"context.call.calls_in_task > {10**15 + number}" if reads else f'principal.environment == "environment {number}"'
            rules.append(f'@id("{name}-forbid-{number}")\nforbid ({scope}) when {{ {when} }};')
        when = 'context.input.message == "never"' if reads else 'principal.purpose == "never"'
        unless = ' unless { context.call.approvals.contains("approver") }' if reads else ""
        label = '@approval("approver")\n' if reads else ""
        rules.append(f'@id("{name}-ask")\n{label}forbid ({scope}) when {{ {when} }}{unless};')
    kinds = ["write", "execute", "exfiltrate", "admin", "band:medium", "band:high", "band:critical"]
    while len(rules) < POLICIES:
        number = len(rules)
        scope = f'principal, action in Bailiwick::Action::"{kinds[number % len(kinds)]}", resource'
        if number % 10 < 7:
            rules.append(f'@id("other-{number}")\npermit ({scope}) when {{ principal.purpose == "purpose {number}" }};')
        elif number % 10 < 8:
            rules.append(f'@id("other-{number}")\nforbid ({scope}) when {{ context.call.calls_in_task > {10**15} }};')
        else:
            rules.append(f'@id("other-{number}")\n@approval("approver")\nforbid ({scope}) when {{ context.call.hour == 3 }} '
                         'unless { context.call.approvals.contains("approver") };')
    return "\n\n".join(rules) + "\n"


def wait_for(ready, process: subprocess.Popen | None = None, log: pathlib.Path | None = None) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            return ready()
        except OSError as fault:
            ended = process is not None and process.poll() is not None
            if ended or time.monotonic() > until:
                said = log.read_text() if log else ""
                raise SystemExit(f"it does not start: {fault}\n{said}") from fault
        time.sleep(0.1)


def get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        return answer.read().decode()
