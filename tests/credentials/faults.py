"""Part C: an issuer that is down, slow, wrong, generous or busy. See `run`."""

import json
import sys
import threading

import kit
from between import http
from stand import ByBao, ByPostgres, Stand

checks = kit.Checks()
program = kit.binary(*sys.argv[1:])
INSERT = {"sql": "INSERT INTO tickets (text) VALUES ('z')"}


def faulty(kind):
    stand = Stand(program, kind)
    cluster, between = stand.cluster, stand.between
    bao = kind is ByBao

    def mode(value):
        return (lambda: setattr(between, "mode", value)), (lambda: setattr(between, "mode", "pass"))

    def sql(*both):
        return tuple(lambda one=one: cluster.admin.execute(one) for one in both)

    cases = {
        "down": ((between.down, between.up), "can't be reached"),
        "slow": (mode("slow"), "in time"),
        "wrong: a page": (mode(http("200 OK", b"<html>hello</html>", "content-type: text/html")), "not its JSON" if bao else "failed"),
        "wrong: nothing": (mode(http("200 OK", b"")), "not its JSON" if bao else "failed"),
        "wrong: broken off": (mode(lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"auth\": {\"cli"), "reached" if bao else "failed"),
        "wrong: without what counts": (mode(http("200 OK", b"{}")), "answers without" if bao else "failed"),
        "wrong: 10 MB": (mode(http("200 OK", b" " * 10_000_000)), "more than" if bao else "failed"),
        "failing": (mode(http("500 Internal", b'{"errors":["broken"]}')), "broken" if bao else "failed"),
        "forbidden": (mode(http("403 Forbidden", b'{"errors":["permission denied"]}')), "permission denied") if bao else (sql("ALTER ROLE bailiwick NOLOGIN", "ALTER ROLE bailiwick LOGIN"), "not permitted to log in"),
        "generous": (mode("generous"), "were asked for") if bao else (sql("ALTER ROLE tickets_rw SUPERUSER", "ALTER ROLE tickets_rw NOSUPERUSER"), "more than rights to data"),
        "busy": (mode(http("429 Too Many", b'{"errors":["later"]}', "retry-after: 2")), "429") if bao else (sql("ALTER ROLE bailiwick CONNECTION LIMIT 0", "ALTER ROLE bailiwick CONNECTION LIMIT -1"), "too many connections"),
    }
    for name, ((begin, end), word) in cases.items():
        name = f"{kind.name} {name}"
        with checks.guard(name):
            task, agent = stand.grant("db__query,db__execute")
            rows = cluster.all("SELECT count(*) FROM tickets")[0]
            begin()
            try:
                answer = agent.call("db__execute", INSERT)
            finally:
                end()
            said = json.dumps(answer)
            checks.check(f"{name}: the call is refused", "error" in answer or answer.get("result", {}).get("isError"), said)
            why = stand.why()
            checks.check(f"{name}: the record says why", word in why, why)
            checks.equal(f"{name}: nothing happened", cluster.all("SELECT count(*) FROM tickets")[0], rows)
            kit.until(f"{name}: it works again", lambda: kit.words(agent.call("db__execute", INSERT)) == "[]", 30)
            stand.gateway.ok("grants", "complete", task)
            stand.wait_until_clean(f"{name}: after the task", 45)


def both(kind):
    with checks.guard(kind.name):
        faulty(kind)


threads = [threading.Thread(target=both, args=(kind,)) for kind in (ByPostgres, ByBao)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(checks.end())
