"""GitHub's documented answers on loopback: nobody ships it for a machine without a network. Proofs are checked by a library of others."""

import json
import re
import secrets as random
import time
from http.server import BaseHTTPRequestHandler

import jwt
import kit
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lent import secret, served


class Forge:
    """An app that is installed once, tokens of that installation, and the issues that those may read."""

    def __init__(self, host="127.0.0.1", port=0):
        self.alive, self.ended, self.proofs, self.issues, self.is_suspended = {}, [], [], {}, False
        self.key = rsa.generate_private_key(65537, 2048)
        # The form in which GitHub hands out an app's key.
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        self.key_file = secret(kit.folder(), "app.pem", self.key.private_bytes(*form).decode())
        self.host = served(type("Api", (_Api,), {"forge": self}), host, port)
        self.url = f"{self.host}/api/v3"

    def provider(self):
        """What a gateway is configured with."""
        return f'[[providers]]\nid = "app"\ngithub = {{ app = "Iv1.bailiwick", installation = 4711, key_file = "{self.key_file}", api_url = "{self.url}" }}\n'

    def proven(self, proof):
        """What the app says of itself, if it is the app."""
        claims = jwt.decode(proof, self.key.public_key(), algorithms=["RS256"], issuer="Iv1.bailiwick", options={"require": ["iat", "exp", "iss"]})
        self.proofs.append(claims)


class _Api(BaseHTTPRequestHandler):
    forge = None

    def log_message(self, *_):
        pass

    def token(self):
        return self.headers["Authorization"].removeprefix("Bearer ")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.forge.proven(self.token())
        except jwt.InvalidTokenError as fault:
            return self.answer(401, {"message": str(fault)})
        if self.path != "/api/v3/app/installations/4711/access_tokens" or not self.headers["User-Agent"]:
            return self.answer(404, {"message": "Not Found"})
        if self.forge.is_suspended:
            return self.answer(403, {"message": "This installation has been suspended"})
        changes = asked["permissions"]["issues"] == "write"
        if changes and "finance" in asked["repositories"]:
            return self.answer(422, {"message": "There is at least one repository that does not exist"})
        token = "ghs_" + random.token_hex(20)
        permissions = {**asked["permissions"], "metadata": "read"}
        if changes and "generous" in asked["repositories"]:
            permissions["administration"] = "write"
        self.forge.alive[token] = permissions
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        repositories = [{"id": 1, "name": name, "full_name": f"octo/{name}"} for name in asked["repositories"]]
        self.answer(201, {"token": token, "expires_at": ends, "permissions": permissions, "repository_selection": "selected", "repositories": repositories})

    def do_GET(self):
        if self.token() not in self.forge.alive:
            return self.answer(401, {"message": "Bad credentials"})
        number = re.fullmatch(r"/api/v3/repos/octo/support/issues/(\d+)", self.path)
        title = self.forge.issues.get(int(number[1])) if number else None
        if title is None:
            return self.answer(404, {"message": "Not Found"})
        self.answer(200, {"number": int(number[1]), "state": "open", "title": title})

    def do_DELETE(self):
        if self.path != "/api/v3/installation/token" or self.forge.alive.pop(self.token(), None) is None:
            return self.answer(401, {"message": "Bad credentials"})
        self.forge.ended.append(self.token())
        self.answer(204, None)

    def answer(self, status, body):
        body = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
