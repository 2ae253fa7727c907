"""Installation tokens: an app's proof that a library of others checks, answers in the shape that GitHub documents, and their end."""

import json
import secrets as random
import sys
import time
from http.server import BaseHTTPRequestHandler

import jwt
import kit
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lent import AGENT, Downstream, call, connector, secret, secrets, served

checks = kit.Checks()
folder = kit.folder()
key = rsa.generate_private_key(65537, 2048)
# The form in which GitHub hands out an app's key.
form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
secret(folder, "app.pem", key.private_bytes(*form).decode())
alive, ended, proofs = {}, [], []


class Api(BaseHTTPRequestHandler):
    """Two of GitHub's endpoints, as its documentation has them."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        proof = self.headers["Authorization"].removeprefix("Bearer ")
        try:
            claims = jwt.decode(proof, key.public_key(), algorithms=["RS256"], issuer="Iv1.bailiwick", options={"require": ["iat", "exp", "iss"]})
        except jwt.InvalidTokenError as fault:
            return self.answer(401, {"message": str(fault)})
        proofs.append(claims)
        if self.path != "/api/v3/app/installations/4711/access_tokens" or not self.headers["User-Agent"]:
            return self.answer(404, {"message": "Not Found"})
        changes = asked["permissions"]["issues"] == "write"
        if changes and "finance" in asked["repositories"]:
            return self.answer(422, {"message": "There is at least one repository that does not exist"})
        token = "ghs_" + random.token_hex(20)
        permissions = {**asked["permissions"], "metadata": "read"}
        if changes and "generous" in asked["repositories"]:
            permissions["administration"] = "write"
        alive[token] = permissions
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        repositories = [{"id": 1, "name": name, "full_name": f"octo/{name}"} for name in asked["repositories"]]
        self.answer(201, {"token": token, "expires_at": ends, "permissions": permissions, "repository_selection": "selected", "repositories": repositories})

    def do_DELETE(self):
        token = self.headers["Authorization"].removeprefix("Bearer ")
        if self.path != "/api/v3/installation/token" or alive.pop(token, None) is None:
            return self.answer(401, {"message": "Bad credentials"})
        ended.append(token)
        self.answer(204, None)

    def answer(self, status, body):
        body = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


api = served(Api)
downstream = Downstream(lambda token: token in alive and json.dumps(alive[token], sort_keys=True))
provider = f'[[providers]]\nid = "app"\ngithub = {{ app = "Iv1.bailiwick", installation = 4711, key_file = "{folder}/app.pem", api_url = "{api}/api/v3" }}\n'


def lent(repository):
    """What a connector for this repository is lent."""
    inject = 'inject = { header = "Authorization", prefix = "Bearer " }'
    return f'{{ provider = "app", repositories = ["{repository}"], permissions = {{ issues = "write" }}, read_permissions = {{ issues = "read" }}, {inject} }}'


parts = [AGENT, provider]
parts += [connector(name, f'url = "{downstream.url}"', lent(name)) for name in ("support", "generous", "finance")]
gateway = kit.Gateway(kit.binary(sys.argv[1] if len(sys.argv) > 1 else None), "".join(parts))

with checks.guard("a token"):
    said = call(gateway, "support-work", "support__change")
    checks.check("a task that changes may write", said.startswith('{"issues": "write", "metadata": "read"}'), said)
    said = call(gateway, "support-read", "support__look")
    checks.check("a task that reads may read", said.startswith('{"issues": "read", "metadata": "read"}'), said)
    checks.check("both are good while their tasks go on", len(set(downstream.seen)) == 2 and set(downstream.seen) <= set(alive), len(alive))
    spans = {proof["exp"] - proof["iat"] for proof in proofs}
    checks.check("the app's proof is good for ten minutes at most", spans and max(spans) <= 600, spans)
    for grant in ("support-work", "support-read"):
        gateway.ok("grants", "complete", grant)
    kit.until("the end of both", lambda: set(downstream.seen) <= set(ended), 20)
    checks.check("both are given back when the task is over", set(downstream.seen) <= set(ended) and not alive, alive)
    events = [record["event"] for record in secrets(gateway, "support", "minted", "revoked") if "grant" in record]
    checks.equal("the record has both, and their end", sorted(events), ["minted", "minted", "revoked", "revoked"])

with checks.guard("generous"):
    before = len(ended)
    said = call(gateway, "generous-work", "generous__change")
    checks.check("a token that may more is refused", said.startswith("refused"), said)
    kit.until("the end of it", lambda: len(ended) > before and not alive, 20)
    checks.check("and given back", not alive, alive)
    why = [record.get("why", "") for record in secrets(gateway, "generous") if record["event"] == "refused"]
    checks.check("the record says why", why and "`administration` beyond" in why[0], why)

with checks.guard("finance"):
    said = call(gateway, "finance-work", "finance__change")
    checks.check("a repository that the app does not have is refused", said.startswith("refused"), said)

sys.exit(checks.end())
