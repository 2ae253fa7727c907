"""A small server by FastMCP, which speaks both eras: over standard input and output, or over HTTP with a port as its argument.
It knows a secret only by its digest, which its first argument is, and answers nobody over HTTP who does not present it."""

import asyncio
import hashlib
import os
import sys

from fastmcp import Context, FastMCP
from fastmcp.server.dependencies import get_http_headers
from fastmcp.tools import ToolResult
from mcp_types import TextContent

DIGEST = sys.argv[1]
server = FastMCP("dual", version="1.0.0")


def presented() -> str:
    """The secret that was lent: over HTTP with each request, else in the environment."""
    header = get_http_headers(include={"authorization"}).get("authorization", "")
    return header.removeprefix("Bearer ") or os.environ.get("DESK_TOKEN", "")


def prove() -> None:
    """Fails where the secret is not the one that was agreed."""
    if hashlib.sha256(presented().encode()).hexdigest() != DIGEST:
        raise PermissionError("no credential, or a wrong one")


@server.tool(annotations={"readOnlyHint": True})
def add(a: int, b: int) -> int:
    """Adds two whole numbers, for whoever has the credential."""
    prove()
    return a + b


@server.tool
def era(ctx: Context) -> str:
    """The version of the protocol in which this very call came."""
    prove()
    return ctx.session.protocol_version


@server.tool
async def report(steps: int, ctx: Context) -> str:
    """Takes some steps, and tells of each."""
    prove()
    for step in range(steps):
        await ctx.report_progress(step + 1, steps)
        await asyncio.sleep(0)
    return f"{steps} steps"


@server.tool
def blurt() -> ToolResult:
    """Says what it must not: the secret that was lent."""
    prove()
    secret = presented()
    return ToolResult(content=[TextContent(type="text", text=f"the token is {secret}")], structured_content={"token": secret, "in": {"deep": [f"x{secret}x"]}})


@server.tool
def stumbles() -> str:
    """Fails, and says the secret in its fault."""
    raise ValueError(f"could not use {presented()}")


if len(sys.argv) > 2:
    server.run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), path="/mcp", show_banner=False, log_level="WARNING")
else:
    server.run(show_banner=False, log_level="WARNING")
