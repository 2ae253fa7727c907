"""A small server by the Python SDK's FastMCP 1, of the older era, over standard input and output: it asks the user of whoever calls it
while it works on the call, and waits for the answer."""

from mcp.server.fastmcp import Context, FastMCP
from pydantic import BaseModel

server = FastMCP("elder", log_level="WARNING")


class Sure(BaseModel):
    sure: bool


@server.tool()
async def confirm(what: str, ctx: Context) -> str:
    """Asks the user, and says what came of it."""
    answer = await ctx.elicit(message=f"Really {what}?", schema=Sure)
    return f"{answer.action}: {answer.data.model_dump() if answer.action == 'accept' else None}"


server.run()
