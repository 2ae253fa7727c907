"""A certified authorization server on loopback, for the clients that a script names."""

import atexit
import base64
import json
import os
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import kit

SECRET = "a secret of nobody: +/%&="
SCOPES = "tickets.read tickets.write"


def client(name, auth="basic", password=SECRET):
    """A client with a secret."""
    return {"client_id": name, "client_secret": password, "token_endpoint_auth_method": f"client_secret_{auth}", "scope": SCOPES}


class Authority:
    """The server, until the script ends. One of its clients is `server`, which may ask what a token is good for."""

    def __init__(self, clients):
        command = [os.environ["BAILIWICK_OIDC_NODE"], str(Path(__file__).resolve().parent / "provider.mjs")]
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "BAILIWICK_OIDC_MODULES": os.environ["BAILIWICK_OIDC_MODULES"]}
        log = kit.folder() / "log"
        with log.open("wb") as out:
            self.child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True)
        atexit.register(self.stop)
        self.child.stdin.write(json.dumps({"port": kit.free_port(), "clients": list(clients)}) + "\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            sys.exit(log.read_text())
        self.url = json.loads(line)["issuer"]
        self.issued = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.child.stdout:
            self.issued.append(json.loads(line)["issued"])

    def introspect(self, token):
        """What it says of a token, asked as the server that the token is for."""
        return json.loads(self._ask("introspection", "server", token))

    def revoke(self, client, token):
        """Takes a token of this client back."""
        self._ask("revocation", client, token)

    def _ask(self, endpoint, client, token):
        pair = ":".join(urllib.parse.quote_plus(part) for part in (client, SECRET))
        headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        form = urllib.parse.urlencode({"token": token}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/token/{endpoint}", form, headers), timeout=30) as answer:
            return answer.read()

    def stop(self):
        """Ends it."""
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait()
