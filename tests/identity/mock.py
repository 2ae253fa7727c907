"""Two issuers at once, a real OpenBao and an oauth2-mock-server: each speaks for its own agents, and what is forged for none."""

import atexit
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import kit
from agent import CONNECTOR, Agent, refused
from bao import Bao
from issuer import Issuer

# Which of the two that run there is meant: the one that counts, or one that nobody has heard of.
OWN, STRANGE = 0, 1

# What the record says of a signature that does not fit.
BAD = "the signature is not by the key"

checks = kit.Checks()


class Mock:
    """Two servers in one program: what they sign is said with each token."""

    def __init__(self):
        command = [os.environ["BAILIWICK_MOCK_NODE"], str(Path(__file__).resolve().parent / "mock.mjs")]
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "BAILIWICK_MOCK_MODULES": os.environ["BAILIWICK_MOCK_MODULES"]}
        self.child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self.stop)
        self.urls = self._line()

    def _line(self):
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"the mock server ended with {self.child.wait(20)}")
        return json.loads(line)

    def token(self, by=OWN, header=None, **claims):
        """A token of the agent, but for these claims."""
        usual = {"sub": subject, "aud": gateway.url}
        self.child.stdin.write(json.dumps({"by": by, "header": header or {}, "claims": {**usual, **claims}}) + "\n")
        self.child.stdin.flush()
        return self._line()

    def stop(self):
        """Ends it: it reads until nobody writes."""
        if self.child.poll() is None:
            self.child.stdin.close()
            self.child.wait(20)


def shown(part):
    """A part of a token, read."""
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def written(value):
    """A part of a token, as it is written: of bytes, or of what is JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def changed(token, header=None, claims=None):
    """A token whose header or claims are others, with the signature that it had."""
    parts = token.split(".")
    return ".".join([written({**shown(parts[0]), **(header or {})}), written({**shown(parts[1]), **(claims or {})}), parts[2]])


def with_secret(token, secret):
    """A token that is signed with what everybody can read, as if it were a secret."""
    signed = ".".join([written({**shown(token.split(".")[0]), "alg": "HS256"}), token.split(".")[1]])
    return f"{signed}.{written(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


bao = Bao()
issuer = Issuer(bao)
issuer.key("agents", algorithm="RS256", verification_ttl="10m")
subject, login = issuer.entity("billing")

with checks.guard("two issuers"):
    mock = Mock()
    config = f"""
[[issuers]]
id = "openbao"
profile = "oidc"
issuer = "{issuer.url}"
[[issuers]]
id = "mock"
profile = "oidc"
issuer = "{mock.urls[OWN]}"
jwks_url = "{mock.urls[OWN]}/jwks"
algorithms = ["RS256"]
[[agents]]
id = "billing-bot"
owner = "billing@example.com"
ceiling = "high"
identity = [{{ issuer = "openbao", subject = "{subject}" }}]
[[agents]]
id = "namesake"
owner = "billing@example.com"
ceiling = "high"
identity = [{{ issuer = "mock", subject = "{subject}" }}]
{CONNECTOR}
{CONNECTOR.replace('"echo"', '"other"')}
[[grants]]
id = "billing"
agent = "billing-bot"
purpose = "bill"
tools = ["echo__*"]
default = true
[[grants]]
id = "namesake"
agent = "namesake"
purpose = "something else"
tools = ["other__*"]
default = true
"""
    gateway = kit.Gateway(kit.binary(*sys.argv[1:2]), config)
    issuer.role("agent", "agents", gateway.url, "10m")
    good = mock.token()
    theirs = issuer.token(login, "agent")
    bao_kid = shown(theirs.split(".")[0])["kid"]
    checks.equal("both issuers speak of the same subject", [shown(token.split(".")[1])["sub"] for token in (good, theirs)], [subject, subject])
    agent = Agent(gateway.url, good)
    checks.equal("an agent lists its tools by the mock server's token", agent.tools(), ["other__echo"])
    checks.equal("and calls them", agent.call("hello", "other__echo"), (200, "hello"))
    checks.equal("the same subject of the other issuer is another agent, with tools of its own", Agent(gateway.url, theirs).tools(), ["echo__echo"])
    calls = Agent(gateway.url, theirs).call("hello"), Agent(gateway.url, theirs).ask("tools/call", {"name": "other__echo", "arguments": {"text": "x"}})[1]
    checks.check("which calls those and not its namesake's", calls[0] == (200, "hello") and "error" in calls[1], calls)
    agents = {record["agent"] for record in gateway.json("audit", "tail", "-n", "100", "--stream", "calls") if record.get("outcome") == "success"}
    checks.equal("and the record tells them apart", agents, {"billing-bot", "namesake"})

    keys = urllib.request.urlopen(f"{mock.urls[OWN]}/jwks", timeout=30).read()
    now = int(time.time())
    for name, token, cause in [
        ("claims that were changed", changed(good, claims={"jti": "another"}), BAD),
        ("a subject that was changed", changed(good, claims={"sub": "somebody"}), BAD),
        ("a lifetime that was changed", changed(good, claims={"exp": now + 7200}), BAD),
        ("no algorithm, and no signature", changed(good, header={"alg": "none"}).rsplit(".", 1)[0] + ".", "`none` is no algorithm"),
        ("no algorithm, and a signature", changed(good, header={"alg": "none"}), "`none` is no algorithm"),
        ("the published keys as a secret", with_secret(good, keys), "`HS256` is no algorithm"),
        ("another algorithm than it was signed with", changed(good, header={"alg": "PS256"}), "PS256 is no algorithm of the issuer"),
        ("another audience", mock.token(aud="http://127.0.0.1:1/mcp"), "another audience"),
        ("no audience", mock.token(aud=[]), "another audience"),
        ("a token that is over", mock.token(iat=now - 120, nbf=now - 120, exp=now - 60), "expired"),
        ("a token of tomorrow", mock.token(nbf=now + 3600, exp=now + 7200), "not good yet"),
        ("a token for a week", mock.token(exp=now + 7 * 86400), "max_lifetime"),
        ("a subject that is no agent", mock.token(sub="nobody"), "not registered"),
        ("an issuer that nobody has heard of", mock.token(STRANGE), "no issuer that is configured"),
        ("its key in the name of the first, called as that one's", mock.token(STRANGE, iss=mock.urls[OWN]), BAD),
        ("the same with a key of its own in the header", mock.token(STRANGE, {"jku": f"{mock.urls[STRANGE]}/jwks"}, iss=mock.urls[OWN]), BAD),
        ("a key that the issuer does not have", mock.token(STRANGE, {"kid": "unheard"}, iss=mock.urls[OWN]), "none is called `unheard`"),
        ("the mock server in the name of OpenBao", mock.token(iss=issuer.url), "none is called `signing`"),
        ("and with the name of its key", mock.token(OWN, {"kid": bao_kid}, iss=issuer.url), BAD),
        ("OpenBao's token in the name of the mock server", changed(theirs, {"kid": "signing"}, {"iss": mock.urls[OWN]}), BAD),
    ]:
        refused(checks, gateway, name, token, cause)
    checks.equal("what is good counts all the while", [Agent(gateway.url, token).status() for token in (good, mock.token(), theirs)], [200] * 3)
    gateway.stop()
    mock.stop()

bao.stop()
sys.exit(checks.end())
