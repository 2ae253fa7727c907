"""What the parts share: files for their owner only, an MCP server over HTTP that keeps what it is lent, and a gateway with one task."""

import http.client
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kit

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("look", "change")]


def secret(folder, name, text):
    """A file that its owner alone can read."""
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def served(handler, host="127.0.0.1", port=0):
    """A server of this class, on a port of its own if none is named; its address."""
    server = ThreadingHTTPServer((host, port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{host}:{server.server_address[1]}"


def beneath(pid):
    """The folders of the processes that this one started, and of theirs, in `/proc`."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += [Path(f"/proc/{child}"), *beneath(int(child))]
    return found


def environment(process):
    """The variables that a process was started with."""
    words = (process / "environ").read_bytes().decode().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


class Downstream:
    """An MCP server that asks `is_good(token)` of whoever issued the token, on every request, and tells what it heard.

    With `challenge(request, token)` its tokens are bound to keys: that says with which headers a request is refused, none if it proves its key."""

    def __init__(self, is_good, challenge=None):
        seen = self.seen = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                scheme, _, token = self.headers.get("Authorization", "").partition(" ")
                heard = is_good(token) if scheme == ("DPoP" if challenge else "Bearer") else None
                refused = challenge(self, token) if heard and challenge else None
                if not heard or refused:
                    return self.answer(401, b"", refused or {})
                if "id" not in asked:
                    return self.answer(202, b"")
                if asked["method"] == "tools/call":
                    seen.append(token)
                results = {
                    "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "lent", "version": "1"}},
                    "tools/list": {"tools": TOOLS},
                    "tools/call": {"content": [{"type": "text", "text": heard}]},
                }
                known = results.get(asked["method"])
                what = {"result": known} if known else {"error": {"code": -32601, "message": "unknown"}}
                self.answer(200, json.dumps({"jsonrpc": "2.0", "id": asked["id"], **what}).encode())

            def do_GET(self):
                self.answer(405, b"")

            do_DELETE = do_GET

            def answer(self, status, body, headers=()):
                self.send_response(status)
                for name in headers:
                    self.send_header(name, headers[name])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.url = f"{served(Handler)}/mcp"


def connector(name, way, credential):
    """A connector with these tools, which needs this credential."""
    return f"""
[[connectors]]
id = "{name}"
{way}
protocol = "legacy"
pin = "first-use"
credential = {credential}
tools.look = {{ kind = "read", band = "low" }}
tools.change = {{ kind = "write", band = "low" }}
[[grants]]
id = "{name}-work"
agent = "bot"
purpose = "work with {name}"
tools = ["{name}__*"]
ttl = "1h"
[[grants]]
id = "{name}-read"
agent = "bot"
purpose = "look at {name}"
tools = ["{name}__look"]
ttl = "1h"
"""


AGENT = """
[[agents]]
id = "bot"
owner = "ada@example.com"
ceiling = "high"
"""


def call(gateway, grant, tool):
    """A call under this grant: its words, or the whole answer where it was refused."""
    where = urllib.parse.urlsplit(gateway.url)
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}, "_meta": meta}}
    headers = {
        "Authorization": f"Bearer {gateway.ok('agents', 'token', 'bot')}",
        "Bailiwick-Grant": grant,
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    connection = http.client.HTTPConnection(where.netloc, timeout=90)
    connection.request("POST", where.path, json.dumps(body), headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    text = kit.words(answer)
    return text if text and not answer["result"].get("isError") else f"refused: {json.dumps(answer)}"


def secrets(gateway, connector, *events):
    """The records of the stream `secrets` for this connector, of these events where some are named."""
    records = gateway.json("audit", "tail", "-n", "200", "--stream", "secrets")
    return [record for record in records if record.get("connector") == connector and (not events or record["event"] in events)]
