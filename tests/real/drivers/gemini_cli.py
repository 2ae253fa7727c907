"""Gemini CLI as an agent: `gemini --acp`, with a model that does as it is told."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import programs

SERVER = "gateway"
PROGRAM = Path(os.environ["BAILIWICK_AGENT_MODULES"]) / "@google/gemini-cli/bundle/gemini.js"


class GeminiCli(programs.Program):
    prefix = f"mcp_{SERVER}_"

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(where)
        # Else it starts itself a second time, as a child that outlives it.
        self.env |= {"GEMINI_CLI_NO_RELAUNCH": "true"}
        self.env |= {"GOOGLE_GEMINI_BASE_URL": self.model.url, "GEMINI_API_KEY": "none"}

    @contextlib.asynccontextmanager
    async def session(self, patience: float) -> AsyncIterator[programs.Prompt]:
        server = programs.server(self.where, timeout=patience * 1000, trust=True)
        security = {"folderTrust": {"enabled": False}, "auth": {"selectedType": "gemini-api-key"}}
        quiet = {"privacy": {"usageStatisticsEnabled": False}, "general": {"enableAutoUpdate": False}}
        programs.write(self.folder / ".gemini/settings.json", {"mcpServers": {SERVER: server}, "security": security, **quiet})
        command = [os.environ["BAILIWICK_NODE"], str(PROGRAM), "--acp", "-m", "gemini-2.5-pro"]
        async with programs.child(self.where, self.env, *command) as child:
            await child.asks("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
            session = await child.asks("session/new", {"cwd": str(self.folder), "mcpServers": []})

            async def prompt() -> None:
                await child.asks("session/prompt", {"sessionId": session["sessionId"], "prompt": [{"type": "text", "text": "go"}]})

            yield prompt


programs.run(GeminiCli)
