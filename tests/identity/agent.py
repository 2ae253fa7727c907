"""An agent over one kept connection, and the connector that it calls."""

import http.client
import json
import sys
import urllib.parse
from pathlib import Path

CONNECTOR = f'''
[[connectors]]
id = "echo"
command = ["{sys.executable}", "{Path(__file__).resolve().parent / "echo.py"}"]
pin = "first-use"
tools.echo = {{ kind = "read", band = "low" }}
'''


class Agent:
    """An agent that proves itself by a token, if it has one, or by what the connection brings."""

    def __init__(self, url, token=None):
        self.where = urllib.parse.urlsplit(url)
        self.token = token
        self.connection = self._connection()

    def _connection(self):
        return http.client.HTTPConnection(self.where.netloc, timeout=30)

    def ask(self, method, params):
        """The status and the message that come back; raises where no connection comes about."""
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
        if "name" in params:
            headers["Mcp-Name"] = params["name"]
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        self.connection.request("POST", self.where.path, json.dumps(body), headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def tools(self):
        """The names of its tools, or the status of the refusal."""
        status, answer = self.ask("tools/list", {})
        return sorted(tool["name"] for tool in answer["result"]["tools"]) if status == 200 else status

    def call(self, text, tool="echo__echo"):
        """The status, and the words of the result."""
        status, answer = self.ask("tools/call", {"name": tool, "arguments": {"text": text}})
        content = answer.get("result", {}).get("content") or [{}]
        return status, content[0].get("text", "")

    def status(self):
        """The status of a list."""
        return self.ask("tools/list", {})[0]


def why(gateway):
    """Why nobody was known in the last request, by the record; nothing where somebody was."""
    last = gateway.json("audit", "tail", "-n", "1", "--stream", "decisions")[-1]
    return last["detail"] if (last["effect"], last.get("reason")) == ("deny", "unauthenticated") else ""


def refused(checks, gateway, name, token, cause):
    """One check: this token is refused with 401, and the record says so with this cause."""
    status = Agent(gateway.url, token).status()
    recorded = why(gateway)
    checks.check(f"{name}: 401, and on record", status == 401 and cause in recorded, (status, recorded))
