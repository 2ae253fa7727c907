import asyncio

from fastmcp import Client
from fastmcp.client.transports import StdioTransport

CONNECTION

client = Client(StdioTransport(COMMAND, ARGUMENTS), timeout=PATIENCE)


async def main() -> None:
    async with client:
        for tool in await client.list_tools():
            print(tool.name)


if __name__ == "__main__":
    asyncio.run(main())
