"""What the record must say at the end, whoever called what: one outcome for every call, and no secret anywhere."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kit


def stream(gateway: kit.Gateway, name: str) -> list[dict[str, Any]]:
    """The records of one stream, in order."""
    files = sorted((gateway.data / "trail").glob(f"{name}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def judge(checks: kit.Checks, gateway: kit.Gateway, secrets: dict[str, str], said: Iterable[str]) -> None:
    """Verifies the chain, then reads the record as somebody who was not there; `said` is all that the clients got to read."""
    verified = gateway.run("audit", "verify")
    checks.check("the record verifies", verified.returncode == 0 and "OK" in verified.stdout, verified)
    calls = stream(gateway, "calls")
    outcomes = Counter(record["call_id"] for record in calls if record["event"] == "outcome")
    wrong = {call: count for call, count in outcomes.items() if count != 1}
    checks.check(f"each of {len(outcomes)} calls has exactly one outcome", outcomes and not wrong, wrong)
    intents = Counter(record["call_id"] for record in calls if record["event"] == "intent")
    known = {record["call_id"] for name in ["calls", "decisions", "secrets"] for record in stream(gateway, name) if "call_id" in record}
    checks.equal("no call is on record without an outcome", sorted(known - set(outcomes)), [])
    checks.check(f"each of {len(intents)} effects was meant once", intents and set(intents.values()) == {1}, intents.most_common(3))
    at = {(record["event"], record["call_id"]): record["seq"] for record in calls if "call_id" in record}
    late = [call for call in intents if at["intent", call] > at.get(("outcome", call), 0)]
    checks.equal("each intent is before its outcome", late, [])
    keeps_secrets(checks, gateway, secrets, said)


def keeps_secrets(checks: kit.Checks, gateway: kit.Gateway, secrets: dict[str, str], said: Iterable[str]) -> None:
    """Neither what was lent nor what proves an agent is said to anybody, or written where an operator reads."""
    places = {"what clients read": "\n".join(said), "standard error": gateway.said, "metrics": gateway.metrics()}
    for file in [*(gateway.data / "trail").iterdir(), *logs(gateway)]:
        places[file.name] = file.read_text(errors="replace")
    told = [(secret, place) for secret, value in secrets.items() for place, text in places.items() if value in text]
    checks.check(f"none of {len(secrets)} secrets is in any of {len(places)} places", secrets and not told, told)


def logs(gateway: kit.Gateway) -> list[Path]:
    """Whatever logs lie in its data folder."""
    return [file for file in gateway.data.rglob("*.log") if file.is_file()]


def outcomes_of(gateway: kit.Gateway, agent: str) -> list[dict[str, Any]]:
    """The outcomes of one agent's requests."""
    return [record for record in stream(gateway, "calls") if record["event"] == "outcome" and record.get("agent") == agent]
