"""What arrives of a call at a collector, and what a sick collector costs. See `trace` beside this."""

import asyncio
import atexit
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import rotel
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "real"))
import kit  # noqa: E402

checks = kit.Checks()

# The gates of a call, as the children of its root, in order.
WALK = ["bailiwick.authenticate", "bailiwick.grant.resolve", "bailiwick.schema.validate", "bailiwick.policy.evaluate"]
ARMED = ["bailiwick.credential.issue", "bailiwick.record"]
ASKED = ["bailiwick.approval.check"]


class Traces:
    """The spans that have arrived so far, by trace."""

    def __init__(self):
        self.spans = []

    async def listen(self, tap):
        async for span in tap.stream_traces():
            self.spans.append(span)

    async def of(self, call):
        """The root and the children of a call, in order, once they are there."""

        def found():
            return next((span for span in self.spans if not span.parent_span_id and attributes(span).get("bailiwick.call.id") == call), None)

        root = await asyncio.to_thread(kit.until, f"the trace of call {call}", found, 20)
        # A tree is sent in one request: what is not there with its root does not come.
        await asyncio.sleep(0.5)
        rest = [span for span in self.spans if span.trace_id == root.trace_id and span is not root]
        return root, sorted(rest, key=lambda span: span.start_time_unix_nano)


def attributes(span):
    """The attributes of a span."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


class Collector:
    """A real collector, which writes down what it decodes."""

    def __init__(self):
        self.port = kit.free_port()
        self.log = kit.folder() / "log"
        agent = Path(rotel.__file__).parent / "rotel-agent"
        command = [agent, "start", "--otlp-grpc-endpoint", f"127.0.0.1:{kit.free_port()}", "--otlp-http-endpoint", f"127.0.0.1:{self.port}"]
        command += ["--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"]
        command += ["--batch-timeout", "100ms", "--pid-file", str(self.log.with_name("pid"))]
        with self.log.open("wb") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        atexit.register(child.wait)
        atexit.register(child.terminate)
        kit.until("the collector", lambda: listens(self.port), 20)

    def spans(self):
        """Trace, parent, span, name of each span that it has decoded."""
        form = r"Trace ID +: (\w*)\n +Parent ID +: (\w*)\n +ID +: (\w*)\n +Name +: (.*)"
        return set(re.findall(form, self.log.read_text(errors="replace")))


def listens(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


async def arrives(program):
    """Four calls: their traces, whole, and as the record has them."""
    port = kit.free_port()
    second = await asyncio.to_thread(Collector)
    settings = OtelTapHttpProtobufReceiverSettings(http_port=port, reemit_traces_to_url=f"http://127.0.0.1:{second.port}/v1/traces")
    async with OtelTapHttpProtobufReceiver(settings) as tap:
        traces = Traces()
        listening = asyncio.create_task(traces.listen(tap))
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
        demo = await asyncio.to_thread(kit.Gateway, program, None, endpoint)
        agent = await asyncio.to_thread(demo.agent, "demo")
        for part in [allowed, ungranted, out_of_bounds, approved]:
            with checks.guard(part.__name__):
                await part(demo, agent, traces)
        with checks.guard("secrets"):
            everything = b"".join(span.SerializeToString() for span in traces.spans)
            secrets = [agent.token, (demo.data / "demo-tickets.token").read_text().strip()]
            checks.check("no span has a secret in it", everything and not any(secret.encode() in everything for secret in secrets))
        with checks.guard("the second collector"):
            ours = {(span.trace_id.hex(), span.parent_span_id.hex(), span.span_id.hex(), span.name) for span in traces.spans}
            theirs = await asyncio.to_thread(kit.until, "the same spans at rotel", lambda: len(second.spans()) >= len(ours) and second.spans(), 20)
            checks.check(f"a second collector decodes the same {len(ours)} spans", ours and theirs == ours, theirs ^ ours)
        await asyncio.to_thread(demo.stop)
        listening.cancel()


def last_call(demo, tool):
    """The id of the last call of a tool, from the record."""
    return kit.until("the call's outcome on record", lambda: [one["call_id"] for one in demo.json("audit", "tail", "-n", "20", "--stream", "calls") if one.get("tool") == tool and one["event"] == "outcome"])[-1]


async def trace_of(demo, traces, tool, name):
    """The trace of the last call of a tool: what holds of every trace is checked here."""
    call = await asyncio.to_thread(last_call, demo, tool)
    root, children = await traces.of(call)
    checks.check(f"{name}: the root is the SERVER span of the call", root.kind == Span.SPAN_KIND_SERVER and not root.parent_span_id, root)
    checks.equal(f"{name}: all other spans are its children", {child.parent_span_id for child in children}, {root.span_id})
    ids = [root.span_id, *(child.span_id for child in children)]
    checks.check(f"{name}: each span has an id of its own", len(set(ids)) == len(ids) and all(len(one) == 8 for one in ids), ids)
    inside = all(root.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano <= root.end_time_unix_nano for child in children)
    checks.check(f"{name}: every child begins and ends within it", inside)
    on_record = {one["trace_id"] for one in await asyncio.to_thread(demo.json, "audit", "show", call)}
    checks.equal(f"{name}: the record has the same trace id", on_record, {root.trace_id.hex()})
    return root, children


async def allowed(demo, agent, traces):
    caller = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    answer = await asyncio.to_thread(lambda: agent.call("tickets__get", {"id": "T-17"}, traceparent=f"00-{caller[0]}-{caller[1]}-00"))
    checks.check("allowed: it is answered", "Charged twice" in kit.words(answer), answer)
    root, children = await trace_of(demo, traces, "tickets__get", "allowed")
    checks.equal("allowed: the root's name", root.name, "tools/call tickets__get")
    checks.equal("allowed: every gate is a span, in order", [child.name for child in children], [*WALK, *ARMED, "tools/call get", "bailiwick.result.inspect"])
    [outward] = [child for child in children if child.kind == Span.SPAN_KIND_CLIENT]
    checks.equal("allowed: the call downstream is a CLIENT span", outward.name, "tools/call get")
    said = attributes(root)
    wanted = {"gen_ai.tool.name": "tickets__get", "gen_ai.agent.id": "demo", "bailiwick.task.id": "demo-triage", "bailiwick.outcome": "success", "mcp.method.name": "tools/call", "mcp.protocol.version": "2026-07-28"}
    checks.equal("allowed: the root says who, what, under which grant", {key: said.get(key) for key in wanted}, wanted)
    checks.check("allowed: no reason for a refusal", "bailiwick.decision.reason" not in said and root.status.code != Status.STATUS_CODE_ERROR, said)
    links = [(link.trace_id.hex(), link.span_id.hex()) for link in root.links]
    checks.check("allowed: the caller's trace is linked, not obeyed", links == [caller] and root.trace_id.hex() != caller[0], links)


async def ungranted(demo, agent, traces):
    answer = await asyncio.to_thread(agent.call, "files__delete", {"path": "/readme.txt"})
    checks.equal("ungranted: it does not exist", answer.get("error", {}).get("code"), -32602)
    root, children = await trace_of(demo, traces, "files__delete", "ungranted")
    checks.equal("ungranted: a name that a caller chose is no span's name", root.name, "tools/call")
    said = attributes(root)
    checks.equal("ungranted: the reason and the gate", (said.get("bailiwick.decision.reason"), said.get("bailiwick.gate"), said.get("bailiwick.outcome")), ("unknown_tool", "grant", "denied"))
    checks.equal("ungranted: it goes no further", [child.name for child in children], WALK[:2])


async def out_of_bounds(demo, agent, traces):
    answer = await asyncio.to_thread(agent.call, "tickets__search", {"project": "finance", "text": "invoice"})
    checks.check("out of bounds: it is refused", answer.get("result", {}).get("isError"), answer)
    root, children = await trace_of(demo, traces, "tickets__search", "out of bounds")
    said = attributes(root)
    checks.check("out of bounds: the reason and the gate", said.get("bailiwick.decision.reason") and said.get("bailiwick.gate") == "validate" and said.get("bailiwick.outcome") == "denied", said)
    checks.equal("out of bounds: it goes no further", [child.name for child in children], WALK[:3])


async def approved(demo, agent, traces):
    call = asyncio.create_task(asyncio.to_thread(agent.beside().call, "tickets__refund", {"id": "T-17", "amount_cents": 4900}))
    asked = await asyncio.to_thread(demo.pending)
    await asyncio.to_thread(demo.ok, "approvals", "approve", asked["code"], "--yes")
    answer = await call
    checks.check("approved: it goes on", "R-1" in kit.words(answer), answer)
    root, children = await trace_of(demo, traces, "tickets__refund", "approved")
    first, second = [*WALK, *ASKED, "bailiwick.approval.wait"], [*WALK, *ASKED, *ARMED, "tools/call refund", "bailiwick.result.inspect"]
    names = [child.name for child in children]
    checks.equal("approved: the way until it waits, the wait, and the whole way again", names, first + second)
    ids = {attributes(child)["bailiwick.approval.id"] for child in children if "approval" in child.name}
    checks.equal("approved: the spans about it name the approval", ids, {asked["id"]})
    outcomes = [attributes(child).get("bailiwick.approval.outcome") for child in children if child.name == "bailiwick.approval.check"]
    checks.equal("approved: pending at first, approved then", outcomes, ["pending", "approved"])
    on_record = {one["trace_id"] for one in demo.json("audit", "show", asked["id"]) if one["stream"] != "admin"}
    checks.equal("approved: the record of the approval has the same trace", on_record, {root.trace_id.hex()})


SHOP = """
[[agents]]
id = "a"
owner = "a@example.com"

[[connectors]]
id = "shop"
command = ["{program}", "demo-server", "shop"]
pin = "first-use"
tools.get_product = {{ kind = "read", band = "low" }}

[[grants]]
id = "g"
agent = "a"
purpose = "measure"
tools = ["shop__get_product"]
default = true
ttl = "1h"
"""


def sick(after):
    """A collector that answers after so many seconds; never for none. Its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with suppress(OSError):
            while connection.recv(1 << 20):
                if after is not None:
                    # Whatever the rest of the request still is, it is read meanwhile.
                    connection.settimeout(after)
                    until = time.monotonic() + after
                    while (left := until - time.monotonic()) > 0:
                        connection.settimeout(left)
                        with suppress(TimeoutError):
                            connection.recv(1 << 20)
                    connection.settimeout(None)
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def costs_nothing(program):
    """200 calls beside each kind of collector, in turns, so that the machine's moods are shared."""
    # A small queue and batch, so that 200 calls are more than a sick collector takes.
    small = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BSP_MAX_QUEUE_SIZE": "512", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "128", "OTEL_EXPORTER_OTLP_TIMEOUT": "3000"}
    ends = {"none": None, "dead": kit.free_port(), "hung": sick(None), "slow": sick(1.0)}
    gateways, agents = {}, {}
    for name, port in ends.items():
        env = {**small, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"} if port else {}
        gateways[name] = kit.Gateway(program, SHOP.format(program=program), env)
        agents[name] = gateways[name].agent("a")
    # The first call of each starts its server, and is not measured.
    for agent in agents.values():
        reads(agent)
    made = 1
    # Another program's burst may fall on one kind alone: then once more, and no more than twice.
    for _ in range(3):
        spent = measured(agents)
        made += 200
        ratios = {name: spent[name] / spent["none"] for name in ["dead", "hung", "slow"]}
        print("       200 calls: " + ", ".join(f"{name} collector {seconds * 1000:.0f} ms" for name, seconds in spent.items()))
        if max(ratios.values()) <= 1.5:
            break
    for name, ratio in ratios.items():
        checks.check(f"a {name} collector slows no call (×{ratio:.2f})", ratio <= 1.5, spent)
    row = 'bailiwick_telemetry_items_total{{bailiwick_outcome="{}"}}'
    for name, outcome in [("dead", "failed"), ("hung", "dropped"), ("hung", "failed"), ("slow", "dropped"), ("slow", "exported")]:
        count = kit.until(f"{name}: {outcome} spans", lambda name=name, outcome=outcome: gateways[name].metric(row.format(outcome)), 15)
        checks.check(f"a {name} collector: {count} spans are counted as {outcome}", count > 0)
    for name, gateway in gateways.items():
        intact = gateway.run("audit", "verify")
        began = time.monotonic()
        gateway.stop()
        took = time.monotonic() - began
        [segment] = (gateway.data / "trail").glob("calls-*.jsonl")
        outcomes = segment.read_bytes().count(b'"event":"outcome"')
        checks.check(f"a {name} collector: every call is on record ({outcomes}), and the gateway stops ({took:.1f} s)", intact.returncode == 0 and outcomes == made and took < 8, (intact, outcomes, took))


def measured(agents):
    """200 calls of each, in turns of ten: the seconds they took."""
    spent = dict.fromkeys(agents, 0.0)
    for turn in range(20):
        # Each kind comes first, second, third and last in turn.
        for name in list(agents)[turn % 4 :] + list(agents)[: turn % 4]:
            began = time.perf_counter()
            for _ in range(10):
                reads(agents[name])
            spent[name] += time.perf_counter() - began
    return spent


def reads(agent):
    """One call that has to succeed."""
    answer = agent.call("shop__get_product", {"sku": "MUG-1"})
    if "Blue mug" not in kit.words(answer):
        raise RuntimeError(f"the call failed: {answer}")


def main():
    program = kit.binary(*sys.argv[1:2])
    with checks.guard("the traces"):
        asyncio.run(arrives(program))
    with checks.guard("sick collectors"):
        costs_nothing(program)
    return checks.end()


sys.exit(main())
