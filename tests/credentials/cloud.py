"""A cloud on loopback, as others rebuilt it: users, roles, sessions and buckets, behind a check of signatures and rights."""

import atexit
import json
import os
import subprocess
import urllib.request
from pathlib import Path

import boto3
import kit

REGION = "eu-central-1"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]})


def rights(action="*", resource="*", effect="Allow"):
    """A policy of one statement."""
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": resource}]})


class Moto:
    """The service, until the script ends."""

    def __init__(self):
        port = kit.free_port()
        self.url = f"http://127.0.0.1:{port}"
        folder = kit.folder()
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "INITIAL_NO_AUTH_ACTION_COUNT": "1000000"}
        # It lies beside the Python that it is for.
        program = Path(os.environ["BAILIWICK_MOTO"])
        command = [program.parent / "python", program, "-H", "127.0.0.1", "-p", str(port)]
        with (folder / "moto.log").open("wb") as log:
            self.child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self.stop)
        kit.until("moto", self._is_up, 60)

    def _is_up(self):
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def check_signatures(self):
        """From here on nobody is answered who does not prove who they are, and may."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}, method="POST")
        urllib.request.urlopen(request, timeout=30).read()

    def client(self, service, **keys):
        """A client of the vendor's own."""
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **keys)

    def stop(self):
        """Ends it."""
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait()
