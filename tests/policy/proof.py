"""`policy diff` with a solver: what sampling can't meet is found and shown, what does not widen is proven, and what is open is said to be."""

import json
import shutil
import sys

import kit

program = kit.binary(*sys.argv[1:])
checks = kit.Checks()
REFUND = 'principal, action == Bailiwick::Action::"tickets__refund", resource'
OLD = f'@id("large") forbid ({REFUND}) when {{ context.input.amount_cents > 10000 }};'
CONFIG = f"""
[policy]
files = ["policies/"]

[[connectors]]
id = "tickets"
command = ["{program}", "demo-server", "tickets"]
pin = "first-use"
credential = {{ provider = "file", path = "tickets.token", inject = {{ env = "TICKETS_TOKEN" }} }}
tools.get = {{ kind = "read", band = "low" }}
tools.refund = {{ kind = "write", band = "high" }}

[[agents]]
id = "support"
owner = "owner@example.com"

[[grants]]
id = "tickets"
agent = "support"
purpose = "answer tickets"
tools = ["tickets__*"]
default = true
"""


class House(kit.Gateway):
    """A gateway whose one rule of its own forbids large refunds."""

    def start(self):
        (self.folder / "policies").mkdir()
        (self.folder / "policies/refunds.cedar").write_text(OLD)
        (self.folder / "tickets.token").write_text("a credential of nobody: 0123456789")
        (self.folder / "tickets.token").chmod(0o600)
        super().start()

    def diff(self, rule, solver=None):
        """The exit code, and the rows of what other rules change."""
        shutil.rmtree(self.folder / "next", ignore_errors=True)
        (self.folder / "next").mkdir()
        (self.folder / "next/refunds.cedar").write_text(rule)
        self.env["CVC5"] = solver or shutil.which("cvc5")
        done = self.run("policy", "diff", "next", "--json")
        return done.returncode, json.loads(done.stdout)


def states(rows):
    """State, direction and method of each row."""
    return sorted((row["state"], row.get("never", ""), row["method"]) for row in rows)


house = House(program, CONFIG)
with checks.guard("found"):
    # The amount that it lets go is no literal of either rule, nor next to one.
    code, rows = house.diff(OLD.replace("10000 }", "10000 } unless { context.input.amount_cents - 7 == 76543 }"))
    found = [row for row in rows if row["state"] == "widens"]
    checks.equal("a hole that no literal leads to is found", [row["arguments"]["amount_cents"] for row in found], [76550])
    checks.equal("by the solver", [row["method"] for row in found], ["solver"])
    checks.equal("as a request of a grant that there is", [(row["agent"], row["grant"]) for row in found], [("support", "tickets")])
    checks.equal("and with what comes of it", [(row["from"], row["to"]) for row in found], [("deny", "step_up")])
    checks.equal("what it takes away is proven to be nothing", ("proved", "narrows", "solver") in states(rows), True)
    checks.equal("a pipeline stops there", code, 3)
with checks.guard("same"):
    code, rows = house.diff(OLD.replace("context.input.amount_cents > 10000", "!(context.input.amount_cents <= 10000)"))
    checks.equal("rules that say the same in other words are proven to", states(rows), [("proved", "narrows", "solver"), ("proved", "widens", "solver")])
    checks.equal("and nothing stops", code, 0)
with checks.guard("narrower"):
    code, rows = house.diff(OLD.replace("> 10000", "> 9000"))
    checks.equal("what is narrower is shown by sampling, and proven not to be wider", states(rows), [("narrows", "", "sampling"), ("proved", "widens", "solver")])
    checks.equal("and nothing stops there", code, 0)
with checks.guard("can fail"):
    code, rows = house.diff(OLD.replace("> 10000", "> 10000 || context.input.amount_cents * 2 > 90000"))
    reasons = [row["reason"] for row in rows if row["state"] == "open"]
    checks.check("a rule that can fail leaves it open, and says so", len(reasons) == 1 and "`large` can fail" in reasons[0], rows)
with checks.guard("demands"):
    asks = f'@id("large") @approval("desk") @quorum("2") forbid ({REFUND}) when {{ context.input.amount_cents > 10000 }} unless {{ context.call.approvals.contains("desk") }};'
    (house.folder / "policies/refunds.cedar").write_text(asks)
    code, rows = house.diff(asks.replace("> 10000", "> 10000 || context.input.amount_cents > 20000"))
    reasons = [row["reason"] for row in rows if row["state"] == "open"]
    checks.check("what a rule demands of people is no matter of the solver's, and it says so", len(reasons) == 2 and all("demands more than a yes" in reason for reason in reasons), rows)
    (house.folder / "policies/refunds.cedar").write_text(OLD)
with checks.guard("no solver"):
    for solver in ("/nowhere/cvc5", shutil.which("cat")):
        code, rows = house.diff(OLD.replace("> 10000", "> 9000"), solver)
        checks.equal(f"without an answer of {solver} nothing is called proven", states(rows), [("narrows", "", "sampling"), ("open", "widens", "solver")])
sys.exit(checks.end())
