import asyncio

from fastmcp.client.transports import StdioTransport
from pydantic_ai.mcp import MCPToolset

CONNECTION

toolset = MCPToolset(StdioTransport(COMMAND, ARGUMENTS), read_timeout=PATIENCE)


async def main() -> None:
    async with toolset:
        for tool in await toolset.list_tools():
            print(tool.name)


if __name__ == "__main__":
    asyncio.run(main())
