import asyncio

from agents.mcp import MCPServerStdio

CONNECTION

server = MCPServerStdio(
    name="bailiwick",
    params={"command": COMMAND, "args": ARGUMENTS},
    client_session_timeout_seconds=PATIENCE,
)


async def main() -> None:
    async with server:
        for tool in await server.list_tools():
            print(tool.name)


if __name__ == "__main__":
    asyncio.run(main())
