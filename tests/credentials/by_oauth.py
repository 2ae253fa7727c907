"""Access tokens of a certified authorization server: a client's secret and a signed assertion, scopes by task, and taken back when it ends."""

import atexit
import base64
import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import kit
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from lent import AGENT, Downstream, call, connector, secret, secrets

checks = kit.Checks()
folder = kit.folder()
SECRET = "a secret of nobody: +/%&="
SCOPES = "tickets.read tickets.write"

KEYS = {
    "rs": ("RS256", RSAAlgorithm, rsa.generate_private_key(65537, 2048)),
    "ps": ("PS256", RSAAlgorithm, rsa.generate_private_key(65537, 2048)),
    "es": ("ES256", ECAlgorithm, ec.generate_private_key(ec.SECP256R1())),
    "ed": ("EdDSA", OKPAlgorithm, ed25519.Ed25519PrivateKey.generate()),
}


def pem(key):
    """A private key as text."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


def clients():
    """Who may ask."""
    yield {"client_id": "basic", "client_secret": SECRET, "token_endpoint_auth_method": "client_secret_basic", "scope": SCOPES}
    yield {"client_id": "post", "client_secret": SECRET, "token_endpoint_auth_method": "client_secret_post", "scope": SCOPES}
    yield {"client_id": "server", "client_secret": SECRET, "token_endpoint_auth_method": "client_secret_basic", "scope": SCOPES}
    for name, (algorithm, kind, key) in KEYS.items():
        jwk = json.loads(kind.to_jwk(key.public_key()))
        jwk = {part: value for part, value in jwk.items() if part != "key_ops"}
        jwks = {"keys": [{**jwk, "kid": name, "use": "sig", "alg": algorithm}]}
        yield {"client_id": name, "jwks": jwks, "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": algorithm, "scope": SCOPES}


class Issuer:
    """The server, until the script ends."""

    def __init__(self):
        command = [os.environ["BAILIWICK_OIDC_NODE"], str(Path(__file__).resolve().parent / "provider.mjs")]
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "BAILIWICK_OIDC_MODULES": os.environ["BAILIWICK_OIDC_MODULES"]}
        with (folder / "provider.log").open("wb") as log:
            self.child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        atexit.register(self.stop)
        self.child.stdin.write(json.dumps({"port": kit.free_port(), "clients": list(clients())}) + "\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            sys.exit((folder / "provider.log").read_text())
        self.url = json.loads(line)["issuer"]

    def introspect(self, token):
        """What it says of a token, asked as the server that the token is for."""
        pair = ":".join(urllib.parse.quote_plus(part) for part in ("server", SECRET))
        headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        form = urllib.parse.urlencode({"token": token}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/token/introspection", form, headers), timeout=30) as answer:
            return json.loads(answer.read())

    def stop(self):
        """Ends it."""
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait()


issuer = Issuer()


def is_good(token):
    """What the server with the tools is told by the issuer."""
    said = issuer.introspect(token)
    return said.get("active") and f"{said['client_id']} may {said['scope']}"


downstream = Downstream(is_good)
secret(folder, "client.secret", SECRET + "\n")
for name, (_, _, key) in KEYS.items():
    secret(folder, f"{name}.pem", pem(key))


def provider(name):
    """A provider for each way to prove oneself: by endpoints where it has a secret, by metadata where it has a key."""
    if name in KEYS:
        way = f'issuer = "{issuer.url}", auth = "private_key_jwt", key_file = "{folder}/{name}.pem", key_id = "{name}"'
        way += ', algorithm = "PS256"' if name == "ps" else ""
    else:
        way = f'token_url = "{issuer.url}/token", revocation_url = "{issuer.url}/token/revocation", auth = "{name}", client_secret_file = "{folder}/client.secret"'
    return f'[[providers]]\nid = "{name}"\noauth = {{ client_id = "{name}", {way} }}\n'


WAYS = ["basic", "post", *KEYS]
LENT = 'scopes = ["tickets.read", "tickets.write"], read_scopes = ["tickets.read"], inject = { header = "Authorization", prefix = "Bearer " }'
parts = [AGENT, *(provider(name) for name in WAYS)]
parts += [connector(name, f'url = "{downstream.url}"', f'{{ provider = "{name}", {LENT} }}') for name in WAYS]
# What this client may not have: the server refuses, and nothing else is used in its place.
greedy = LENT.replace('"tickets.write"', '"tickets.write", "admin"')
parts.append(connector("greedy", f'url = "{downstream.url}"', f'{{ provider = "basic", {greedy} }}'))
gateway = kit.Gateway(kit.binary(sys.argv[1] if len(sys.argv) > 1 else None), "".join(parts))

for name in WAYS:
    with checks.guard(name):
        downstream.seen.clear()
        said = call(gateway, f"{name}-work", f"{name}__change")
        checks.check(f"{name}: its issuer knows the token, and for what it is", said.startswith(f"{name} may tickets.read tickets.write"), said)
        said = call(gateway, f"{name}-read", f"{name}__look")
        checks.check(f"{name}: a task that reads has the scope to read", said.startswith(f"{name} may tickets.read"), said)
        checks.check(f"{name}: one token for each task", len(set(downstream.seen)) == 2, len(downstream.seen))
        checks.check(f"{name}: both are good while their tasks go on", all(issuer.introspect(token)["active"] for token in downstream.seen))
        for grant in ("work", "read"):
            gateway.ok("grants", "complete", f"{name}-{grant}")
        for token in downstream.seen:
            said = kit.until("the end of a token", lambda token=token: not issuer.introspect(token)["active"], 20)
        checks.check(f"{name}: its issuer knows none of them when the task is over", said, said)
        events = [record["event"] for record in secrets(gateway, name, "minted", "revoked") if "grant" in record]
        checks.equal(f"{name}: the record has both, and their end", sorted(events), ["minted", "minted", "revoked", "revoked"])

with checks.guard("greedy"):
    said = call(gateway, "greedy-work", "greedy__change")
    checks.check("a scope that the client may not have is refused", said.startswith("refused"), said)
    # Where it reads only, it has what it needs.
    said = call(gateway, "greedy-read", "greedy__look")
    checks.check("and what it may have is lent all the same", said.startswith("basic may tickets.read"), said)
    why = [record.get("why", "") for record in secrets(gateway, "greedy") if record["event"] == "refused"]
    checks.check("the record says why", why and "invalid_scope" in why[0], why)

with checks.guard("a stop"):
    lent = downstream.seen[-1]
    checks.check("while its task goes on, a token is good", issuer.introspect(lent)["active"])
    gateway.stop()
    checks.check("a gateway that stops gives back what is lent", not issuer.introspect(lent)["active"])

sys.exit(checks.end())
