"""Gemini CLI as an agent: `gemini -p`, with a model that does as it is told."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import lines
import programs

SERVER = "gateway"
PROGRAM = Path(os.environ["BAILIWICK_AGENT_MODULES"]) / "@google/gemini-cli/bundle/gemini.js"


class GeminiCli(programs.Program):
    prefix = f"mcp_{SERVER}_"

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(where)
        self.env |= {"GOOGLE_GEMINI_BASE_URL": self.model.url, "GEMINI_API_KEY": "none"}

    def command(self, patience: float | None) -> list[str]:
        server = programs.server(self.where, timeout=(patience or lines.PATIENCE) * 1000, trust=True)
        security = {"folderTrust": {"enabled": False}, "auth": {"selectedType": "gemini-api-key"}}
        quiet = {"privacy": {"usageStatisticsEnabled": False}, "general": {"enableAutoUpdate": False}}
        programs.write(self.folder / ".gemini/settings.json", {"mcpServers": {SERVER: server}, "security": security, **quiet})
        return [os.environ["BAILIWICK_NODE"], str(PROGRAM), "-p", "go", "--approval-mode", "yolo", "-m", "gemini-2.5-pro"]


@contextlib.asynccontextmanager
async def connect(where: dict[str, Any]) -> AsyncIterator[GeminiCli]:
    yield GeminiCli(where)


lines.run(connect)
