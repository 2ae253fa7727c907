"""What is behind the gateway: real servers as connectors of one agent that may use all of them, and what they serve."""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import StdioServerParameters

ENVIRONMENTS = Path(os.environ["BAILIWICK_ENVIRONMENTS"])
NODE = os.environ["BAILIWICK_NODE"]
OFFICIAL = Path(os.environ["BAILIWICK_NODE_MODULES"]) / "@modelcontextprotocol"

# Both eras, as the Python SDK names them, and the version that is spoken then.
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
AGENT = "py"
SECRET = "lent-5f0c2a8e41d94b7f"
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
# The server that speaks both eras: its program, and what proves to it that it was lent the secret.
DUAL = [str(ENVIRONMENTS / "client/bin/python"), str(Path(__file__).resolve().parent / "dual.py"), hashlib.sha256(SECRET.encode()).hexdigest()]


@dataclass
class Server:
    """A server behind the gateway, and calls that bring the same answer each time."""

    id: str
    tools: int
    reads: list[tuple[str, dict[str, Any]]]
    command: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    # Calls that change something, each to be asked for once: what is looked for afterwards is in `reads`.
    writes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    # Where it is, when it runs already, and in what it is spoken to.
    url: str = ""
    protocol: str = ""
    credential: str = ""

    def config(self) -> str:
        """It as a connector. What is called here is classed as harmless: the questions are asked elsewhere."""
        called = sorted({tool for tool, _ in self.reads + self.writes})
        harmless = "".join(f'tools.{tool} = {{ kind = "read", band = "low" }}\n' for tool in called)
        way = f'url = "{self.url}"\n' if self.url else f"command = {json.dumps(self.command)}\nenv = {table(self.env)}\n"
        protocol = f'protocol = "{self.protocol}"\n' if self.protocol else ""
        return f'\n[[connectors]]\nid = "{self.id}"\n{way}{protocol}{self.credential}{harmless}'

    def direct(self, env: dict[str, str]) -> StdioServerParameters:
        """It without a gateway."""
        return StdioServerParameters(command=self.command[0], args=self.command[1:], env=env)


def table(pairs: dict[str, str]) -> str:
    """An inline table."""
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in pairs.items()) + " }"


def official(name: str) -> list[str]:
    """The command of a server from npm."""
    return [NODE, str(OFFICIAL / f"server-{name}/dist/index.js")]


def everything_reads() -> list[tuple[str, dict[str, Any]]]:
    """Every shape of content that there is."""
    return [
        ("echo", {"message": "é \u2028 \U0001f980 \"quoted\" \\ 1e2"}),
        ("get-sum", {"a": 0.1, "b": 2}),
        ("get-structured-content", {"location": "New York"}),
        ("get-tiny-image", {}),
        ("get-annotated-message", {"messageType": "error", "includeImage": True}),
        ("get-annotated-message", {"messageType": "debug"}),
        ("get-resource-links", {"count": 3}),
        ("trigger-long-running-operation", {"duration": 0.2, "steps": 2}),
    ]


def servers(place: Path) -> list[Server]:
    """Those that anybody can install."""
    repo = f"{place}/repo"
    entity = {"name": "gate", "entityType": "thing", "observations": ["has a keeper", "ist offen, é"]}
    return [
        Server("everything", 13, everything_reads(), official("everything"), ENV),
        Server(
            "memory",
            9,
            [("read_graph", {}), ("search_nodes", {"query": "keeper"}), ("open_nodes", {"names": ["gate"]})],
            official("memory"),
            {**ENV, "MEMORY_FILE_PATH": f"{place}/memory.json"},
            writes=[("create_entities", {"entities": [entity]})],
        ),
        Server(
            "files",
            14,
            [
                ("list_directory", {"path": f"{place}/desk"}),
                ("read_media_file", {"path": f"{place}/desk/dot.png"}),
                ("directory_tree", {"path": f"{place}/desk"}),
            ],
            [*official("filesystem"), str(place)],
            ENV,
        ),
        Server(
            "git",
            12,
            [("git_log", {"repo_path": repo}), ("git_status", {"repo_path": repo}), ("git_show", {"repo_path": repo, "revision": "HEAD"})],
            [str(ENVIRONMENTS / "servers/bin/mcp-server-git"), "--repository", repo],
            {**ENV, "HOME": str(place)},
        ),
        Server(
            "time",
            2,
            [
                ("convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Kathmandu"}),
                ("get_current_time", {"timezone": "Nowhere/Land"}),
            ],
            [str(ENVIRONMENTS / "servers/bin/mcp-server-time"), "--local-timezone", "UTC"],
            ENV,
        ),
    ]


# The connectors to the server that speaks both eras: by what they are told to speak, and what they have to speak then.
DUALS = {"dual-auto": ("auto", ERAS["auto"]), "dual-modern": ("2026-07-28", ERAS["auto"]), "dual-legacy": ("legacy", ERAS["legacy"])}


def dual(id: str, place: Path, **more: Any) -> Server:
    """The server that speaks both eras as a connector that is lent a secret: by a header, or in its environment."""
    inject = '{ header = "Authorization", prefix = "Bearer " }' if "url" in more else '{ env = "DESK_TOKEN" }'
    credential = f'credential = {{ provider = "file", path = "{place}/lent.token", inject = {inject} }}\n'
    reads = [("add", {"a": 2, "b": 40}), ("era", {}), ("report", {"steps": 3}), ("blurt", {}), ("stumbles", {})]
    return Server(id, 5, reads, credential=credential, **more)


def config(everyone: list[Server]) -> str:
    """One agent that may do everything at all of them."""
    tools = json.dumps([f"{server.id}__*" for server in everyone])
    return f"""
[approvals]
hold = "1s"
allow_same_user = true
max_asked_per_hour = 10000
max_denied_in_row = 1000

[[agents]]
id = "{AGENT}"
owner = "team@example.com"
ceiling = "high"
identity = [{{ uid = {os.getuid()} }}]

[[grants]]
id = "work"
agent = "{AGENT}"
purpose = "use every server"
tools = {tools}
default = true
ttl = "1h"
{"".join(server.config() for server in everyone)}"""


def lay_out(place: Path) -> None:
    """What the servers serve."""
    (place / "desk").mkdir()
    (place / "desk/note.txt").write_text("a note\n")
    (place / "desk/dot.png").write_bytes(bytes.fromhex("89504e470d0a1a0a") + bytes(range(256)))
    (place / "lent.token").write_text(SECRET)
    (place / "lent.token").chmod(0o600)
    repo = place / "repo"
    repo.mkdir()
    (repo / "README").write_text("a repository, é\n")
    author = ["-c", "user.name=tester", "-c", "user.email=tester@example.com"]
    for words in [["init", "--quiet", "--initial-branch=main"], ["add", "."], [*author, "commit", "--quiet", "-m", "first"]]:
        subprocess.run(["git", "-C", str(repo), *words], check=True, capture_output=True)
