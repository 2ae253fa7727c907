"""A connector that asks the cloud who it is, with what it was lent in its environment."""

import json
import os
import sys

import boto3

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("look", "change")]


def who():
    """What the vendor's own client hears."""
    client = boto3.client("sts", region_name=os.environ["CALLER_REGION"], endpoint_url=os.environ["CALLER_URL"])
    return client.get_caller_identity()["Arn"]


for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    results = {
        "initialize": lambda: {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "caller", "version": "1"}},
        "tools/list": lambda: {"tools": TOOLS},
        "tools/call": lambda: {"content": [{"type": "text", "text": who()}]},
    }
    known = results.get(asked["method"])
    answer = {"result": known()} if known else {"error": {"code": -32601, "message": "unknown"}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
