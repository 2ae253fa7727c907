import asyncio
import os

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

CONNECTION


async def main() -> None:
    async with httpx2.AsyncClient(headers=HEADERS, timeout=httpx2.Timeout(30, read=PATIENCE)) as http:
        async with Client(streamable_http_client(ENDPOINT, http_client=http), read_timeout_seconds=PATIENCE) as client:
            for tool in (await client.list_tools()).tools:
                print(tool.name)


if __name__ == "__main__":
    asyncio.run(main())
