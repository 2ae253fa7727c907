import asyncio
import os

from agents.mcp import MCPServerStreamableHttp

CONNECTION

server = MCPServerStreamableHttp(
    name="bailiwick",
    params={"url": ENDPOINT, "headers": HEADERS, "timeout": PATIENCE, "sse_read_timeout": PATIENCE},
    client_session_timeout_seconds=PATIENCE,
)


async def main() -> None:
    async with server:
        for tool in await server.list_tools():
            print(tool.name)


if __name__ == "__main__":
    asyncio.run(main())
