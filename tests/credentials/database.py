"""An MCP server over a PostgreSQL database, which it reaches by `DSN` of its environment. It keeps its session open."""

import json
import os
import sys

import psycopg

SQL = {"type": "object", "properties": {"sql": {"type": "string"}}, "required": ["sql"], "additionalProperties": False}
TOOLS = [{"name": name, "inputSchema": SQL} for name in ("query", "execute")]
session = None


def call(params):
    """Runs a statement; what the database says against it is an answer too."""
    global session
    try:
        if session is None:
            session = psycopg.connect(os.environ["DSN"], autocommit=True)
        done = session.execute(params["arguments"]["sql"])
        rows = [list(map(str, row)) for row in done.fetchall()] if done.description else []
        return {"content": [{"type": "text", "text": json.dumps(rows)}]}
    except psycopg.Error as fault:
        return {"content": [{"type": "text", "text": f"{type(fault).__name__}: {fault}"}], "isError": True}


for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    params = asked.get("params", {})
    results = {
        "initialize": lambda: {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "database", "version": "1"}},
        "tools/list": lambda: {"tools": TOOLS},
        "tools/call": lambda: call(params),
    }
    known = results.get(asked["method"])
    answer = {"result": known()} if known else {"error": {"code": -32601, "message": "unknown"}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
