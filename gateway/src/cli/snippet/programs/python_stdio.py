import asyncio

from mcp import Client, StdioServerParameters

CONNECTION


async def main() -> None:
    async with Client(StdioServerParameters(command=COMMAND, args=ARGUMENTS), read_timeout_seconds=PATIENCE) as client:
        for tool in (await client.list_tools()).tools:
            print(tool.name)


if __name__ == "__main__":
    asyncio.run(main())
