"""A small server by FastMCP, of the newer era, over HTTP at the port that is its argument: it asks the user of whoever calls it,
and offers a resource, a template and a prompt that are granted, and one of each that is not."""

import sys

from fastmcp import Context, FastMCP
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

server = FastMCP("asker", version="1.0.0")
SURE = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}


@server.tool
def confirm(what: str, ctx: Context) -> str | InputRequiredResult:
    """Asks the user, and says what came of it."""
    if not (answers := ctx.input_responses):
        params = ElicitRequestFormParams(message=f"Really {what}?", requested_schema=SURE)
        return InputRequiredResult(input_requests={"sure": ElicitRequest(params=params)}, request_state="asked")
    answer = answers["sure"]
    return f"{answer.action}: {answer.content}"


@server.resource("asker://dish/soup")
def soup() -> str:
    return "a bowl of soup"


@server.resource("asker://menu")
def menu() -> str:
    return "not for agents"


@server.resource("asker://dish/{name}")
def dish(name: str) -> str:
    return f"a plate of {name}"


@server.prompt
def order(dish: str) -> str:
    """Orders a dish."""
    return f"Please bring {dish}."


@server.prompt
def cancel() -> str:
    """Is granted to nobody."""
    return "not for agents"


server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), path="/mcp", show_banner=False, log_level="WARNING")
