"""Tokens that a real OpenBao issues (OpenID Connect) prove agents, under load and while its keys rotate."""

import base64
import json
import sys
import threading
import time

import kit
from agent import CONNECTOR, Agent, refused, why
from bao import Bao
from issuer import Issuer

THREADS = 3
LOAD = 30  # seconds
PAUSE = 0.05  # seconds: an agent may send 200 requests a second
# When keys rotate under load, seconds from its begin, and how often at once. OpenBao publishes the next key before it signs, so that one
# rotation brings no key that was not read before; the second of two at once does, and has the keys read at once. That happens every 15 s
# at most: issuers that rotate twice in that time, again and again, are faster than the gateway follows. Without an unknown key the keys are
# read every 11 to 15 s here, as OpenBao wants them stored by nobody.
ROTATIONS = ((3, 2), (14, 1), (25, 2))

checks = kit.Checks()


def part(token, number):
    """The header or the claims of a token."""
    text = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


class Load:
    """Threads that call all the time: with a token that was read for the call, then with the one before it."""

    def __init__(self, url):
        self.url = url
        self.is_over = threading.Event()
        self.calls = 0
        self.faults = []
        self.kids = set()
        self.lock = threading.Lock()
        self.begun = time.monotonic()
        self.threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def _run(self, name):
        try:
            self._call_on(name)
        except Exception as fault:  # a thread that ends early is seen
            self.faults.append((round(time.monotonic() - self.begun, 2), repr(fault)))

    def _call_on(self, name):
        agent = Agent(self.url)
        before = issuer.token(login, "agent")
        number = 0
        while not self.is_over.is_set():
            fresh = issuer.token(login, "agent")
            for agent.token in (fresh, before):
                number += 1
                text = f"{name}-{number}"
                seen = agent.call(text)
                with self.lock:
                    self.calls += 1
                    self.kids.add(part(agent.token, 0)["kid"])
                    if seen != (200, text):
                        self.faults.append((round(time.monotonic() - self.begun, 2), *seen, part(agent.token, 0)["kid"]))
            before = fresh
            self.is_over.wait(PAUSE)

    def wait_for(self, second):
        """Returns at this second of the load."""
        kit.until("the time", lambda: time.monotonic() - self.begun >= second, 60)

    def end(self):
        """How long it was, once all calls are answered."""
        self.is_over.set()
        for thread in self.threads:
            thread.join(60)
        return time.monotonic() - self.begun


def rotate(turns):
    """Rotates; what tokens from just after and just before are answered."""
    last = issuer.token(login, "agent")
    for _ in range(turns):
        issuer.rotate("agents", "10s")
    first = issuer.token(login, "agent")
    return [Agent(gateway.url, token).status() for token in (first, last)]


bao = Bao()
issuer = Issuer(bao)
issuer.key("agents", algorithm="ES256", verification_ttl="2m")
issuer.key("lasting", algorithm="RS256", verification_ttl="2m")
subject, login = issuer.entity("billing")
_, stranger = issuer.entity("nobody")

with checks.guard("an OpenBao as issuer"):
    config = f"""
[[issuers]]
id = "openbao"
profile = "oidc"
issuer = "{issuer.url}"
[[agents]]
id = "billing-bot"
owner = "billing@example.com"
ceiling = "high"
identity = [{{ issuer = "openbao", subject = "{subject}" }}]
{CONNECTOR}
[[grants]]
id = "billing"
agent = "billing-bot"
purpose = "bill"
tools = ["echo__*"]
default = true
"""
    gateway = kit.Gateway(kit.binary(*sys.argv[1:2]), config)
    # Whom its tokens are for is the gateway, where nothing else is said.
    issuer.role("agent", "agents", gateway.url, "2m")
    issuer.role("brief", "lasting", gateway.url, "1s")
    issuer.role("elsewhere", "agents", "http://127.0.0.1:1/mcp", "2m")
    described = issuer.described()
    checks.equal("the issuer describes itself, and says where its keys are", (described["issuer"], bool(issuer.kids())), (issuer.url, True))
    agent = Agent(gateway.url, issuer.token(login, "agent"))
    checks.equal("an agent lists its tools by its token", agent.tools(), ["echo__echo"])
    checks.equal("and calls them", agent.call("hello"), (200, "hello"))
    record = json.dumps(gateway.json("audit", "tail", "--stream", "calls"))
    checks.check("the record names the agent and the way", all(word in record for word in ['"billing-bot"', '"auth_method": "jwt"']), record)
    refused(checks, gateway, "a token for somebody else", issuer.token(login, "elsewhere"), "another audience")
    refused(checks, gateway, "an entity that is no agent", issuer.token(stranger, "agent"), "is not registered as an agent")
    brief = issuer.token(login, "brief")
    checks.equal("a token for a second counts in it", Agent(gateway.url, brief).status(), 200)
    expires = part(brief, 1)["exp"]

    load = Load(gateway.url)
    rotations = 0
    answers = []
    for second, turns in ROTATIONS:
        load.wait_for(second)
        answers += rotate(turns)
        rotations += turns
    load.wait_for(LOAD)
    took = load.end()
    checks.check(
        f"{load.calls} calls in {took:.0f} s by {len(load.kids)} keys, {rotations} rotations: none is refused",
        not load.faults and load.calls > 100 and len(load.kids) > len(ROTATIONS),
        f"{len(load.faults)} refused, such as {load.faults[:3]}",
    )
    checks.check(f"nor any of {len(answers)} from just before a rotation and just after", set(answers) == {200}, answers)

    kit.until("the end of the token for a second", lambda: Agent(gateway.url, brief).status() == 401, 60)
    late = time.time() - expires
    checks.check(f"it is refused when it is over ({late:.0f} s, of which 30 are for clocks)", late >= 29 and "expired" in why(gateway), (late, why(gateway)))

    retired = issuer.token(login, "agent")
    kid = part(retired, 0)["kid"]
    issuer.rotate("agents", "5s")
    checks.equal("a retired key counts as long as its issuer publishes it", (kid in issuer.kids(), Agent(gateway.url, retired).status()), (True, 200))
    over = time.monotonic() + 6
    kit.until("the end of its time", lambda: Agent(gateway.url, retired).status() and time.monotonic() > over)
    issuer.rotate("agents", "2m")  # keys whose time is over go with the next rotation
    kit.until("OpenBao to forget it", lambda: kid not in issuer.kids(), 120)
    gone = time.monotonic()
    kit.until("the gateway to forget it", lambda: Agent(gateway.url, retired).status() == 401, 60)
    late = time.monotonic() - gone
    cause = why(gateway)
    checks.check(f"{late:.0f} s after the issuer has forgotten it it counts no more", late < 30 and "none is called" in cause, (late, cause))
    checks.equal("the key of today does", Agent(gateway.url, issuer.token(login, "agent")).call("again"), (200, "again"))
    gateway.stop()

bao.stop()
sys.exit(checks.end())
