"""The conformance suite: which scenarios it has, and what became of each against one server."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

NODE = os.environ["BAILIWICK_NODE"]
SUITE = os.environ["BAILIWICK_SUITE"]
LEGACY, MODERN = "2025-11-25", "2026-07-28"
# The scenarios of the extension for tasks. The eleventh, about its notifications, is not written yet: the suite always skips it.
TASKS = [
    "tasks-capability-negotiation",
    "tasks-dispatch-and-envelope",
    "tasks-lifecycle",
    "tasks-mrtr-composition",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-request-state-removal",
    "tasks-required-task-error",
    "tasks-wire-fields",
]
# What only HTTP has. Over lines these would try what stands between.
HTTP_ONLY = {
    "dns-rebinding-protection",
    "http-custom-header-server-validation",
    "http-header-validation",
    "server-session-lifecycle",
    "server-sse-multiple-streams",
    "server-sse-polling",
}


@dataclass
class Outcome:
    """What became of one scenario: whether it passed, else why not, and which of its checks the suite left out."""

    passed: bool
    why: str
    skipped: list[str]


def scenarios(era):
    """All server scenarios of an era, as the suite lists them."""
    listed = subprocess.run([NODE, SUITE, "list", "--server", "--spec-version", era], capture_output=True, text=True, check=True, timeout=60).stdout
    return re.findall(r"^\s*-\s+(\S+)", listed, re.MULTILINE)


def run(url, era, wanted, folder, together=True):
    """Runs scenarios, all in one go or one by one, and returns what became of each."""
    folder.mkdir(parents=True, exist_ok=True)
    if together:
        _suite(url, era, ["--suite", "all"], folder)
    else:
        for name in wanted:
            _suite(url, era, ["--scenario", name, "--force"], folder)
    return {name: _outcome(name, folder) for name in wanted}


def again(url, era, name, folder):
    """Runs one scenario by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    _suite(url, era, ["--scenario", name, "--force"], folder)
    return _outcome(name, folder)


def _suite(url, era, which, folder):
    command = [NODE, SUITE, "server", "--url", url, *which, "--spec-version", era, "--timeout", "60000", "-o", str(folder)]
    with (folder / "log").open("a") as log:
        subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=900)


def _outcome(name, folder):
    """From the newest checks that the suite wrote for it. A warning is a miss: it is what the specification says SHOULD be."""
    written = sorted(folder.glob(f"server-{name}-2[0-9][0-9][0-9]-*/checks.json"), key=lambda path: path.stat().st_mtime)
    if not written:
        return Outcome(False, "the suite wrote no checks for it", [])
    checks = json.loads(written[-1].read_text())
    bad = [check for check in checks if check["status"] in ("FAILURE", "WARNING")]
    good = [check for check in checks if check["status"] in ("SUCCESS", "INFO")]
    # That its messages fit the schema is a check of every scenario, and passes where nothing else was tried.
    told = [check for check in good if check["id"] != "wire-schema-valid"]
    why = "; ".join(f"{check['id']}: {_line(check)}" for check in bad)
    return Outcome(not bad and bool(told), why or ("" if told else "all of it was skipped"), [check["id"] for check in checks if check["status"] == "SKIPPED"])


def _line(check):
    return " ".join(check.get("errorMessage", "").split())[:200]
