"""Part A: two grants of one agent, at once, with roles of their own. See `run`."""

import json
import sys

import kit
import psycopg
from lent import beneath, environment
from stand import ByBao, ByPostgres, Stand

checks = kit.Checks()
program = kit.binary(*sys.argv[1:])


def row(agent, tool, sql):
    answer = agent.call(f"db__{tool}", {"sql": sql})
    return kit.words(answer) or json.dumps(answer)


def lent(kind, **how):
    stand = Stand(program, kind, **how)
    cluster, name = stand.cluster, f"{kind.name}{''.join(how.values())}"
    stand.wait_until_clean(f"{name}: after the tools were listed")
    (reading, reader), (writing, writer) = stand.grant("db__query"), stand.grant("db__query,db__execute")
    who = [json.loads(row(agent, "query", "SELECT current_user"))[0][0] for agent in (reader, writer)]
    checks.check(f"{name}: each grant has a role of its own", who[0] != who[1] and sorted(who) == cluster.made(), (who, cluster.made()))
    checks.equal(f"{name}: the one that reads has the narrow role", cluster.parents(who[0]), ["tickets_ro"])
    checks.equal(f"{name}: the other one the wide role", cluster.parents(who[1]), ["tickets_rw"])
    denied = row(reader, "query", "CREATE TABLE mine (id int)")
    checks.check(f"{name}: the one that reads creates no table", "permission denied" in denied, denied)
    denied = row(reader, "query", "INSERT INTO tickets (text) VALUES ('x')")
    checks.check(f"{name}: and inserts nothing", "permission denied" in denied, denied)
    checks.equal(f"{name}: the other one does", row(writer, "execute", "INSERT INTO tickets (text) VALUES ('y')"), "[]")
    row(writer, "execute", "CREATE TABLE kept AS SELECT 1 AS id")
    checks.equal(f"{name}: both sessions are open", cluster.sessions(), sorted(who))
    # Somebody has got hold of what it was lent.
    addresses = [environment(process).get("DSN", "") for process in beneath(stand.gateway.child.pid)]
    taken = psycopg.connect(next(address for address in addresses if who[0] in address), autocommit=True)
    taken.execute("SELECT text FROM tickets")
    limits = cluster.all("SELECT rolvaliduntil - now() < interval '16 minutes' FROM pg_roles WHERE rolname = ANY(%s)", who)
    checks.equal(f"{name}: neither lives longer than its grant", limits, [True, True])
    standing = len(stand.issuer.standing())
    stand.gateway.ok("grants", "complete", reading)
    kit.until(f"{name}: the role of what is complete goes", lambda: cluster.made() == [who[1]], 20)
    checks.equal(f"{name}: and its session", cluster.sessions(), [who[1]])
    try:
        seen = taken.execute("SELECT 1").fetchall()
    except psycopg.Error:
        seen = None
    checks.equal(f"{name}: and one that somebody else had begun with it", seen, None)
    if standing:
        kit.until(f"{name}: half of what stands at the issuer goes", lambda: len(stand.issuer.standing()) == standing // 2, 10)
    checks.equal(f"{name}: the other one works on", json.loads(row(writer, "query", "SELECT current_user")), [[who[1]]])
    stand.gateway.ok("grants", "revoke", writing)
    stand.wait_until_clean(f"{name}: after the other one was revoked", 20)
    checks.equal(f"{name}: what it made stays", cluster.all("SELECT tableowner FROM pg_tables WHERE tablename = 'kept'"), ["tickets_rw"])
    if kind is ByPostgres:
        log = cluster.log()
        checks.check(f"{name}: the server's log has verifiers, and no passwords", "PASSWORD 'SCRAM-SHA-256$" in log and log.count("LOGIN INHERIT") == log.count("PASSWORD 'SCRAM-SHA-256$"))


def kept():
    """A value that is kept: read with a token that ends with the task."""
    more = f'''
[[connectors]]
id = "notes"
command = ["{sys.executable}", "{kit.ROOT}/tests/identity/echo.py"]
pin = "first-use"
credential = {{ provider = "issuer", path = "secret/data/notes", token_policies = ["notes"], inject = {{ variables = {{ NOTES = "{{username}}:{{password}}" }} }} }}
tools.echo = {{ kind = "read", band = "low" }}
'''
    stand = Stand(program, ByBao, more)
    name, agent = stand.grant("notes__echo")
    answer = agent.call("notes__echo", {"text": "nothing of it"})
    checks.check("kept: it is lent", "nothing of it" in kit.words(answer), answer)
    checks.equal("kept: one token is there for the task", len(stand.issuer.tokens()), 1)
    answer = agent.call("notes__echo", {"text": "kept-0123456789abcdef and more"})
    checks.check("kept: it is kept out of what comes back", "and more" in kit.words(answer) and "kept-0123456789abcdef" not in json.dumps(answer), answer)
    said = stand.gateway.ok("audit", "tail", "-n", "20", "--stream", "secrets", "--json")
    checks.check("kept: the record says that it is standing", "secret/data/notes (a standing value)" in said, said)
    stand.gateway.ok("grants", "complete", name)
    stand.wait_until_clean("kept: after the task")


for kind, how in ((ByPostgres, {}), (ByBao, {"way": "approle"}), (ByBao, {"way": "token"})):
    with checks.guard(f"{kind.name} {how}"):
        lent(kind, **how)
with checks.guard("kept"):
    kept()
sys.exit(checks.end())
