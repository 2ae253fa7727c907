import asyncio
from datetime import timedelta

from langchain_mcp_adapters.client import MultiServerMCPClient

CONNECTION

client = MultiServerMCPClient(
    {
        "bailiwick": {
            "transport": "stdio",
            "command": COMMAND,
            "args": ARGUMENTS,
            "session_kwargs": {"read_timeout_seconds": timedelta(seconds=PATIENCE)},
        }
    }
)


async def main() -> None:
    for tool in await client.get_tools():
        print(tool.name)


if __name__ == "__main__":
    asyncio.run(main())
