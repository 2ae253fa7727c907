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
HOLD = 16
# After so many seconds a client gives up that is told to. One that can't be told gives up as it comes, after five.
PATIENCE = 3

READ, WRITE, MOVE = "files__read_text_file", "files__write_file", "files__move_file"
SUM, WEATHER, CONVERT = "everything__get-sum", "everything__get-structured-content", "time__convert_time"
# Of a server of the newer era, and of one of the older.
CONFIRM, ELDERS = "asker__confirm", "elder__confirm"
GRANTED = sorted([READ, WRITE, SUM, WEATHER, CONVERT, CONFIRM, ELDERS])
# What is granted besides tools: the static documents of one server, a part of the other's.
FEATURES = [f"{connector}/{feature}" for connector in ["everything", "asker"] for feature in ["resource_read", "prompt_get", "complete"]]
DOCUMENTS = ["architecture", "extension", "features", "how-it-works", "instructions", "startup", "structure"]
RESOURCES = ["asker+asker://dish/soup", *(f"everything+demo://resource/static/document/{name}.md" for name in DOCUMENTS)]
TEMPLATES = ["asker+asker://dish/{name}"]
PROMPTS = ["asker__order", "everything__args-prompt", "everything__completable-prompt"]
NOTE = "the note, 1.0 → é"
SECRET = "not for agents"

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
OLDER = "2025-06-18"

# The parts of the way (`way.py`), in the order in which they are walked; a column of the table each.
PARTS = ["list", "call", "refused", "held", "pending", "patience", "offers", "asked"]
# What a client's library, or the program, can ask for besides tools; whether it can be told how long to wait for a call, takes
# questions to its user, gives a token for progress with its calls, and shows what comes of that.
OFFERS = ["resources", "templates", "read", "prompts", "prompt"]
ABILITIES = {
    "python": [*OFFERS, "complete", "patience", "progress", "token", "questions"],
    "fastmcp": [*OFFERS, "complete", "patience", "progress", "token", "questions"],
    "typescript-v1": [*OFFERS, "complete", "patience", "progress", "token", "questions"],
    "typescript-v2": [*OFFERS, "complete", "patience", "progress", "token", "questions"],
    "pydantic-ai": [*OFFERS, "patience", "progress", "token", "questions"],
    "langchain": [*OFFERS, "complete", "patience", "progress", "token", "questions"],
    "openai-agents": [*OFFERS, "patience"],
    # It gives up after a minute, whatever its settings say.
    "inspector": OFFERS,
    "codex": ["resources", "templates", "read", "patience", "questions", "token"],
    "claude-code": ["resources", "read", "patience", "questions", "token"],
    "gemini-cli": ["patience", "token"],
    "opencode": ["resources", "read", "patience", "token"],
}
# Agents' own programs, and those of them that speak the newer era.
PROGRAMS = {"codex": OLDER, "claude-code": MODERN, "gemini-cli": OLDER, "opencode": LEGACY}


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
        return PROGRAMS.get(self.client) or (MODERN if self.era == "modern" else LEGACY)

    @property
    def looks_up(self) -> bool:
        """Whether it sends nothing for a tool that it has not been shown."""
        return self.client in ["inspector", "claude-code", "gemini-cli", "opencode"]

    @property
    def judges_arguments(self) -> bool:
        """Whether it sends nothing that the schema does not allow."""
        return self.client == "gemini-cli"

    @property
    def hears_progress(self) -> bool:
        return self.can("progress")

    @property
    def takes_questions(self) -> bool:
        """Whether the gateway asks its user what a server wants to know."""
        return self.can("questions")

    def can(self, what: str) -> bool:
        return what in ABILITIES[self.client]

    @property
    def parts(self) -> list[str]:
        """The parts that it walks: those that its library, or the program, has something for."""
        # The Inspector starts anew for each question: what it shows over one transport it does not show again over the other.
        shown = self.client == "inspector" and self.transport == "stdio"
        lacks = {"patience": not self.can("patience"), "offers": shown or not any(self.can(what) for what in OFFERS)}
        return [part for part in PARTS if not lacks.get(part)]


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
    for name in PROGRAMS:
        if name == "opencode" and os.uname().machine != "x86_64":
            continue  # this version is packaged for no other machine
        era = "modern" if PROGRAMS[name] == MODERN else "legacy"
        clients.append((name, era, python("client", name.replace("-", "_"))))
    several = [Case(client, transport, era, program) for client, era, program in clients for transport in ["http", "stdio"]]
    return sorted(several, key=lambda case: not case.looks_up)


def config(place: Path, everyone: list[Case], asker: str) -> str:
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
tools = {json.dumps([*GRANTED, *FEATURES, "asker/elicitation", "elder/elicitation"])}
default = true
ttl = "1h"
args.{READ} = {{ "/path" = {{ path_under = "{place}/desk" }} }}
args.{WRITE} = {{ "/path" = {{ path_under = "{place}/desk" }} }}
args."everything/resource_read" = {{ "/uri" = {{ uri_under = "demo://resource/static" }} }}
args."everything/prompt_get" = {{ "/name" = {{ in = ["args-prompt", "completable-prompt"] }} }}
args."asker/resource_read" = {{ "/uri" = {{ uri_under = "asker://dish" }} }}
args."asker/prompt_get" = {{ "/name" = {{ in = ["order"] }} }}
"""
        for case in everyone
    )
    servers = MODULES / "@modelcontextprotocol"
    features = "\n".join(f'features.{feature} = {{ kind = "read", band = "low" }}' for feature in ["resource_read", "prompt_get", "complete"])
    return f"""
[approvals]
hold = "{HOLD}s"
# Agent and approver are one user here.
allow_same_user = true
max_asked_per_hour = 10000
max_denied_in_row = 1000

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
{features}

[[connectors]]
id = "time"
command = ["{ENVIRONMENTS}/servers/bin/mcp-server-time", "--local-timezone", "UTC"]
shared = true
tools.convert_time = {{ kind = "read", band = "low" }}

[[connectors]]
id = "asker"
url = "{asker}"
protocol = "{MODERN}"
tools.confirm = {{ kind = "read", band = "low" }}
features.elicitation = {{ kind = "read", band = "low" }}
{features}

[[connectors]]
id = "elder"
command = ["{ENVIRONMENTS}/legacy/bin/python", "{DRIVERS.parent}/elder.py"]
protocol = "legacy"
tools.confirm = {{ kind = "read", band = "low" }}
features.elicitation = {{ kind = "read", band = "low" }}
{agents}"""


def lay_out(place: Path) -> None:
    """What the agents may read, and what not."""
    for part in ["desk", "private"]:
        (place / part).mkdir()
    (place / "desk/note.txt").write_text(f"{NOTE}\n")
    (place / "private/secret.txt").write_text(f"{SECRET}\n")
