"""Access tokens of a certified authorization server: a client's secret and a signed assertion, scopes by task, and taken back when it ends."""

import json
import sys

import kit
from authority import SCOPES, SECRET, Authority, client
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from lent import AGENT, Downstream, call, connector, secret, secrets

checks = kit.Checks()
folder = kit.folder()

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
    yield client("basic")
    yield client("post", "post")
    yield client("server")
    for name, (algorithm, kind, key) in KEYS.items():
        jwk = json.loads(kind.to_jwk(key.public_key()))
        jwk = {part: value for part, value in jwk.items() if part != "key_ops"}
        jwks = {"keys": [{**jwk, "kid": name, "use": "sig", "alg": algorithm}]}
        yield {"client_id": name, "jwks": jwks, "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": algorithm, "scope": SCOPES}


issuer = Authority(clients())


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
