import asyncio
import os

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

CONNECTION

client = Client(StreamableHttpTransport(ENDPOINT, headers=HEADERS), timeout=PATIENCE)


async def main() -> None:
    async with client:
        for tool in await client.list_tools():
            print(tool.name)


if __name__ == "__main__":
    asyncio.run(main())
