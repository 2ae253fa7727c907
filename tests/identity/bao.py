"""A real OpenBao in development mode: on loopback, in a folder of its own, with nothing kept."""

import atexit
import json
import os
import subprocess
import urllib.error
import urllib.request

import kit

TOKEN = "root"


class Bao:
    """One that runs until the script ends, or `stop`."""

    def __init__(self):
        self.folder = kit.folder()
        self.url = f"http://127.0.0.1:{kit.free_port()}"
        listen = self.url.removeprefix("http://")
        command = [os.environ["BAILIWICK_BAO"], "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={TOKEN}", f"-dev-listen-address={listen}"]
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder)}
        with (self.folder / "log").open("wb") as log:
            # A group of its own: the program may be started through another one.
            self.child = subprocess.Popen(command, env=env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        atexit.register(self.stop)
        kit.until("OpenBao", self._is_up, 60)

    def _is_up(self):
        if self.child.poll() is not None:
            raise RuntimeError(f"OpenBao ended with {self.child.returncode}: {(self.folder / 'log').read_text()[-2000:]}")
        try:
            return self.read("sys/health")["initialized"]
        except OSError:
            return False

    def read(self, path):
        """What it answers to GET."""
        return self._ask("GET", path, None)

    def write(self, path, **body):
        """What it answers to POST; its `data` where there is one."""
        answer = self._ask("POST", path, body)
        return answer.get("data") or answer

    def _ask(self, method, path, body):
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Vault-Token": TOKEN, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/v1/{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as fault:
            raise RuntimeError(f"{method} {path}: {fault.code} {fault.read().decode()}") from fault

    def stop(self):
        """Ends it: only this one, and what it started."""
        if self.child.poll() is None:
            os.killpg(self.child.pid, 15)
            self.child.wait(20)
