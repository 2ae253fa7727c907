"""Tokens that are bound to a key of their task (RFC 9449): a certified authorization server makes them and wants a nonce, and a server that
takes no other verifies each proof, so that a stolen token is worth nothing."""

import base64
import hashlib
import http.client
import json
import secrets as chance
import sys
import time
import urllib.parse

import jwt
import kit
from authority import SECRET, Authority, client
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from lent import AGENT, Downstream, call, connector, secret, secrets

checks = kit.Checks()
folder = kit.folder()
issuer = Authority([{**client("bound"), "dpop_bound_access_tokens": True}, client("server")])
secret(folder, "client.secret", SECRET + "\n")


def short(data):
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def thumbprint(jwk):
    """RFC 7638."""
    part = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return short(hashlib.sha256(json.dumps(part, separators=(",", ":"), sort_keys=True).encode()).digest())


class Verifier:
    """What the server with the tools wants of a proof: section 4.3, and a nonce of its own, another one after every third request."""

    def __init__(self):
        self.nonce, self.served, self.known, self.asked_for, self.proofs = chance.token_urlsafe(12), 0, set(), 0, []

    def __call__(self, request, token):
        given = request.headers.get_all("DPoP") or []
        try:
            assert len(given) == 1, f"{len(given)} proofs"
            head = jwt.get_unverified_header(given[0])
            assert head["typ"] == "dpop+jwt" and head["alg"] == "ES256" and "d" not in head["jwk"], head
            said = jwt.decode(given[0], ECAlgorithm.from_jwk(json.dumps(head["jwk"])), algorithms=["ES256"])
            where = f"http://{request.headers['Host']}{request.path}"
            assert (said["htm"], said["htu"]) == (request.command, where), said
            assert abs(time.time() - said["iat"]) < 60, said
            assert said["ath"] == short(hashlib.sha256(token.encode()).digest()), said
            assert thumbprint(head["jwk"]) == issuer.introspect(token)["cnf"]["jkt"], "another key"
            assert said["jti"] not in self.known, "used before"
        except (AssertionError, KeyError, jwt.PyJWTError) as why:
            return {"WWW-Authenticate": 'DPoP error="invalid_dpop_proof"', "X-Why": str(why)[:200].replace("\n", " ")}
        if said.get("nonce") != self.nonce:
            self.asked_for += 1
            return {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": self.nonce}
        self.known.add(said["jti"])
        self.proofs.append(given[0])
        self.served += 1
        if self.served % 3 == 0:
            self.nonce = chance.token_urlsafe(12)
        return None


def is_good(token):
    """What the server with the tools is told by the issuer."""
    said = issuer.introspect(token)
    return said.get("active") and f"{said['token_type']} may {said['scope']}"


verifier = Verifier()
downstream = Downstream(is_good, verifier)
SCOPED = 'scopes = ["tickets.read", "tickets.write"], read_scopes = ["tickets.read"]'
BOUND = f'{SCOPED}, bound = "dpop", inject = {{ header = "Authorization", prefix = "DPoP " }}'
BEARER = f'{SCOPED}, inject = {{ header = "Authorization", prefix = "Bearer " }}'
provider = f'''[[providers]]
id = "bound"
oauth = {{ client_id = "bound", issuer = "{issuer.url}", auth = "basic", client_secret_file = "{folder}/client.secret" }}
'''
parts = [AGENT, provider, connector("dpop", f'url = "{downstream.url}"', f'{{ provider = "bound", {BOUND} }}')]
# The issuer gives this client nothing that is not bound.
parts.append(connector("bearer", f'url = "{downstream.url}"', f'{{ provider = "bound", {BEARER} }}'))
gateway = kit.Gateway(kit.binary(sys.argv[1] if len(sys.argv) > 1 else None), "".join(parts))


def stolen(scheme, token, proof=None):
    """The status of a call with a token by somebody else."""
    where = urllib.parse.urlsplit(downstream.url)
    connection = http.client.HTTPConnection(where.netloc, timeout=30)
    headers = {"Authorization": f"{scheme} {token}", "Content-Type": "application/json", **({"DPoP": proof} if proof else {})}
    connection.request("POST", where.path, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "change"}}), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def forged(token):
    """A proof by a key of the thief's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = {name: value for name, value in json.loads(ECAlgorithm.to_jwk(key.public_key())).items() if name in ("kty", "crv", "x", "y")}
    said = {"jti": chance.token_urlsafe(12), "htm": "POST", "htu": downstream.url, "iat": int(time.time()), "nonce": verifier.nonce}
    said["ath"] = short(hashlib.sha256(token.encode()).digest())
    return jwt.encode(said, key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": jwk})


with checks.guard("a bound token"):
    downstream.seen.clear()
    for _ in range(5):
        said = call(gateway, "dpop-work", "dpop__change")
        checks.check("each call is served, and each with a proof", said.startswith("DPoP may tickets.read tickets.write"), said)
    said = call(gateway, "dpop-read", "dpop__look")
    checks.check("a task that reads has one of its own", said.startswith("DPoP may tickets.read"), said)
    checks.check("its server wanted another nonce now and then, and got it", verifier.asked_for >= 2, verifier.asked_for)
    work, read = downstream.seen[0], downstream.seen[-1]
    keys = {issuer.introspect(token)["cnf"]["jkt"] for token in (work, read)}
    checks.check("each task has a key of its own", work != read and len(keys) == 2, keys)
    minted = secrets(gateway, "dpop", "minted")
    checks.check("the record says that they are bound", minted and all(record.get("bound") == "dpop" for record in minted), minted)

with checks.guard("a thief"):
    before = len(downstream.seen)
    checks.equal("as a bearer's it is worth nothing", stolen("Bearer", work), 401)
    checks.equal("nor without a proof", stolen("DPoP", work), 401)
    checks.equal("nor with the proof of a request that was", stolen("DPoP", work, verifier.proofs[-2]), 401)
    checks.equal("nor with one of another key", stolen("DPoP", work, forged(work)), 401)
    checks.equal("nothing was served to them", len(downstream.seen), before)

with checks.guard("no way back"):
    said = call(gateway, "bearer-work", "bearer__change")
    checks.check("what has to be bound is not lent unbound", said.startswith("refused"), said)

with checks.guard("the end"):
    for grant in ("work", "read"):
        gateway.ok("grants", "complete", f"dpop-{grant}")
    for token in (work, read):
        ended = kit.until("the end of a token", lambda token=token: not issuer.introspect(token)["active"], 20)
        checks.check("its issuer knows it no more when the task is over", ended, ended)
    gateway.stop()

sys.exit(checks.end())
