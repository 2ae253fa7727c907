"""Who comes: every client over each transport in each era that it can speak, as an agent of its own, and what it is granted."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

ENVIRONMENTS = Path(os.environ["BAILIWICK_ENVIRONMENTS"])
NODE = os.environ["BAILIWICK_NODE"]
MODULES = Path(os.environ["BAILIWICK_NODE_MODULES"])
DRIVERS = Path(__file__).resolve().parent / "drivers"

# How long a call is held: long enough for an operator on a slow machine, short enough to be waited for.
HOLD = 15

READ, WRITE, MOVE = "files__read_text_file", "files__write_file", "files__move_file"
SUM, WEATHER, CONVERT = "everything__get-sum", "everything__get-structured-content", "time__convert_time"
GRANTED = sorted([READ, WRITE, SUM, WEATHER, CONVERT])
NOTE = "the note, 1.0 → é"
SECRET = "not for agents"

MODERN = "2026-07-28"
LEGACY = "2025-11-25"


@dataclass
class Case:
    """One client over one transport in one era, and what came of it."""

    client: str
    transport: str
    era: str
    program: list[str]
    token: str = ""
    verdicts: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    heard: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.client}-{self.transport}-{self.era}"

    @property
    def version(self) -> str:
        return MODERN if self.era == "modern" else LEGACY

    @property
    def is_inspector(self) -> bool:
        return self.client == "inspector"


def python(environment: str, driver: str) -> list[str]:
    """A driver in Python, in an environment of its own."""
    return [str(ENVIRONMENTS / environment / "bin/python"), str(DRIVERS / f"{driver}.py")]


def cases() -> list[Case]:
    """Who comes: what takes longest first."""
    clients: list[tuple[str, str, list[str]]] = []
    for era in ["legacy", "modern"]:
        clients += [
            ("inspector", era, python("client", "inspector")),
            ("openai-agents", era, python("openai" if era == "modern" else "legacy", "openai_agents")),
            ("pydantic-ai", era, python("pydantic", "pydantic_ai_toolset")),
            ("fastmcp", era, python("client", "fastmcp_client")),
            ("python", era, python("client", "python_sdk")),
            ("typescript-v2", era, [NODE, str(DRIVERS / "typescript_v2.mjs")]),
        ]
    clients.append(("langchain", "legacy", python("legacy", "langchain_adapters")))
    clients.append(("typescript-v1", "legacy", [NODE, str(DRIVERS / "typescript_v1.mjs")]))
    several = [Case(client, transport, era, program) for client, era, program in clients for transport in ["http", "stdio"]]
    return sorted(several, key=lambda case: not case.is_inspector)


def config(place: Path, everyone: list[Case]) -> str:
    """One agent and one grant for each, over servers that all share."""
    agents = "".join(
        f"""
[[agents]]
id = "{case.name}"
owner = "team@example.com"
ceiling = "high"
identity = [{{ uid = {os.getuid()} }}]

[[grants]]
id = "{case.name}"
agent = "{case.name}"
purpose = "write notes"
tools = {json.dumps(GRANTED)}
default = true
ttl = "1h"
args.{READ} = {{ "/path" = {{ path_under = "{place}/desk" }} }}
args.{WRITE} = {{ "/path" = {{ path_under = "{place}/desk" }} }}
"""
        for case in everyone
    )
    servers = MODULES / "@modelcontextprotocol"
    return f"""
[approvals]
hold = "{HOLD}s"
# Agent and approver are one user here.
allow_same_user = true

[[connectors]]
id = "files"
command = ["{NODE}", "{servers}/server-filesystem/dist/index.js", "{place}"]
shared = true
tools.read_text_file = {{ kind = "read", band = "low" }}

[[connectors]]
id = "everything"
command = ["{NODE}", "{servers}/server-everything/dist/index.js"]
shared = true
tools.get-sum = {{ kind = "read", band = "low" }}
tools.get-structured-content = {{ kind = "read", band = "low" }}

[[connectors]]
id = "time"
command = ["{ENVIRONMENTS}/servers/bin/mcp-server-time", "--local-timezone", "UTC"]
shared = true
tools.convert_time = {{ kind = "read", band = "low" }}
{agents}"""


def lay_out(place: Path) -> None:
    """What the agents may read, and what not."""
    for part in ["desk", "private"]:
        (place / part).mkdir()
    (place / "desk/note.txt").write_text(f"{NOTE}\n")
    (place / "private/secret.txt").write_text(f"{SECRET}\n")
