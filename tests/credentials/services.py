"""Services, and the servers that agents reach them by."""

import atexit
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import kit
from authority import SECRET, Authority, client
from between import Between
from botocore.exceptions import ClientError
from cloud import REGION, TRUST, Moto, rights
from forge import Forge
from lent import secret
from mcp.client.streamable_http import streamablehttp_client
from stores import FOUND, PROGRAMS
from whole import USUAL, Case

HERE = Path(__file__).resolve().parent
# What one loopback address is as good for as another: the official server knows no port but that of HTTP.
FORGE = "127.71.72.73"
# It asks with a secret as it is, not in the form of a form.
PLAIN = "of-fastmcp-0123456789"


class Cloud:
    """A bucket, a role that may read it, and the user that the gateway, or its plug-in, is."""

    def __init__(self):
        moto = self.moto = Moto()
        first = {"aws_access_key_id": "first", "aws_secret_access_key": "first"}
        self.iam, bucket = moto.client("iam", **first), moto.client("s3", **first)
        bucket.create_bucket(Bucket="tickets", CreateBucketConfiguration={"LocationConstraint": REGION})
        bucket.put_object(Bucket="tickets", Key="a.txt", Body=FOUND.encode(), ContentType="text/plain")
        self.role = self.iam.create_role(RoleName="reader", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
        self.iam.put_role_policy(RoleName="reader", PolicyName="all", PolicyDocument=rights("s3:*"))
        for name in ("gateway", "reader"):
            self.iam.create_user(UserName=name)
        self.iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=rights("s3:*"))
        self.permit()
        keys = self.iam.create_access_key(UserName="gateway")["AccessKey"]
        self.key_id, self.key_file = keys["AccessKeyId"], secret(kit.folder(), "aws.secret", keys["SecretAccessKey"] + "\n")
        # Of an admin who may do all: the first one is known to nobody once signatures are checked.
        self.iam.create_user(UserName="admin")
        self.iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=rights())
        keys = self.iam.create_access_key(UserName="admin")["AccessKey"]
        moto.check_signatures()
        self.iam = moto.client("iam", aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"])

    def permit(self):
        """The gateway may take the role, and its plug-in make keys."""
        self.iam.put_user_policy(UserName="gateway", PolicyName="all", PolicyDocument=rights())

    def refuse(self):
        """It may neither."""
        self.iam.put_user_policy(UserName="gateway", PolicyName="all", PolicyDocument=rights(["sts:AssumeRole", "iam:CreateAccessKey"], effect="Deny"))

    def works(self, key_id, key, session=None):
        """Whether the bucket is read with these."""
        keys = {"aws_access_key_id": key_id, "aws_secret_access_key": key, "aws_session_token": session}
        try:
            return self.moto.client("s3", **keys).get_object(Bucket="tickets", Key="a.txt")["Body"].read() == FOUND.encode()
        except ClientError as fault:
            if fault.response["Error"]["Code"] in ("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"):
                return False
            raise


@cache
def cloud():
    """One for both ways."""
    return Cloud()


class Bucket(Case):
    """`aws-s3-mcp`, in both ways."""

    tool, arguments, found = "s3_get_object_content", {"bucket_name": "tickets", "key": "a.txt"}, FOUND
    command = [PROGRAMS / "aws-s3-mcp"]
    why = "AccessDenied"

    def __init__(self):
        self.env = {**USUAL, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": cloud().moto.url, "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(kit.folder())}

    def refuse(self):
        cloud().refuse()

    def permit(self):
        cloud().permit()


class BySession(Bucket):
    """Three variables: a session of a role."""

    name = "aws-s3-mcp (S3): a session"
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    is_taken_back = False

    def __init__(self):
        super().__init__()
        self.provider = f'[[providers]]\nid = "sts"\naws = {{ region = "{REGION}", endpoint = "{cloud().moto.url}", access_key_id = "{cloud().key_id}", secret_access_key_file = "{cloud().key_file}" }}\n'
        inject = ", ".join(f'{name} = "{{{name.removeprefix("AWS_").lower()}}}"' for name in self.variables)
        self.lent = f'{{ provider = "sts", role = "{cloud().role}", may_outlive = true, ttl = "15m", inject = {{ variables = {{ {inject} }} }} }}'

    def secrets(self, held):
        return [held["AWS_SECRET_ACCESS_KEY"], held["AWS_SESSION_TOKEN"]]

    def works(self, held):
        return cloud().works(*(held[name] for name in self.variables))


class ByProgram(Bucket):
    """A file in the form of the vendor's own: keys that a program makes for each task, and deletes."""

    name = "aws-s3-mcp (S3): keys by a program"
    # What it said is in the log.
    why = "ended with exit code 1"
    variables = ("AWS_SHARED_CREDENTIALS_FILE",)

    def __init__(self):
        super().__init__()
        told = secret(kit.folder(), "told", json.dumps({"url": cloud().moto.url, "region": REGION, "id": cloud().key_id, "file": str(cloud().key_file)}))
        self.provider = f'[[providers]]\nid = "plugin"\nexec = {{ command = ["{sys.executable}", "{HERE}/keys.py", "{told}"], revocable = true }}\n'
        self.lent = '{ provider = "plugin", role = "reader", inject = { files = { AWS_SHARED_CREDENTIALS_FILE = "{secret}" } } }'

    def keys(self, held):
        lines = dict(line.split(" = ") for line in held["AWS_SHARED_CREDENTIALS_FILE"].splitlines() if " = " in line)
        return lines["aws_access_key_id"], lines["aws_secret_access_key"]

    def secrets(self, held):
        return [self.keys(held)[1]]

    def works(self, held):
        return cloud().works(*self.keys(held))

    def take_away(self, held):
        cloud().iam.delete_access_key(UserName="reader", AccessKeyId=self.keys(held)[0])


class ByVariable(Case):
    """GitHub's own server: a token in one variable."""

    name = "github-mcp-server (GitHub): a token"
    tool, arguments, found = "get_issue", {"owner": "octo", "repo": "support", "issue_number": 7}, FOUND
    command = [PROGRAMS / "github-mcp-server", "stdio"]
    variables = ("GITHUB_PERSONAL_ACCESS_TOKEN",)
    why = "suspended"

    def __init__(self):
        self.forge = Forge(FORGE, 80)
        self.forge.issues[7] = FOUND
        self.env = {**USUAL, "GITHUB_HOST": f"http://{FORGE}"}
        self.provider = self.forge.provider()
        self.lent = f'{{ provider = "app", repositories = ["support"], permissions = {{ issues = "read" }}, inject = {{ env = "{self.variables[0]}" }} }}'

    def works(self, held):
        return held[self.variables[0]] in self.forge.alive

    def take_away(self, held):
        del self.forge.alive[held[self.variables[0]]]

    def refuse(self):
        self.forge.is_suspended = True

    def permit(self):
        self.forge.is_suspended = False

    def without(self):
        return {self.variables[0]: "ghs_" + "0" * 40}


class ByHeader(Case):
    """`fastmcp`, which serves another server over HTTP to those whose token its issuer knows: a header on every request."""

    name = "fastmcp (HTTP): a header"
    tool, arguments, found = "execute_query", {"query": "SELECT text FROM tickets"}, FOUND
    why = "can't be reached"

    def __init__(self):
        self.issuer = Authority([client("gateway"), client("server"), client("fastmcp", password=PLAIN)])
        self.between = Between(int(self.issuer.url.rsplit(":", 1)[1]))
        folder, port = kit.folder(), kit.free_port()
        store = folder / "tickets.db"
        subprocess.run([sys.executable, "-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('CREATE TABLE tickets (text)'); c.execute('INSERT INTO tickets VALUES (?)', [sys.argv[2]]); c.commit()", store, FOUND], check=True)
        servers = {"mcpServers": {"store": {"command": str(PROGRAMS / "mcp-alchemy"), "env": {**USUAL, "DB_URL": f"sqlite:///{store}"}}}}
        (folder / "servers.json").write_text(json.dumps(servers))
        verifier = "FASTMCP_SERVER_AUTH_INTROSPECTION_"
        env = {
            **USUAL,
            "HOME": str(folder),
            "FASTMCP_SERVER_AUTH": "fastmcp.server.auth.providers.introspection.IntrospectionTokenVerifier",
            f"{verifier}INTROSPECTION_URL": f"{self.issuer.url}/token/introspection",
            f"{verifier}CLIENT_ID": "fastmcp",
            f"{verifier}CLIENT_SECRET": PLAIN,
            f"{verifier}REQUIRED_SCOPES": "tickets.read",
        }
        with (folder / "log").open("wb") as log:
            command = [PROGRAMS / "fastmcp", "run", folder / "servers.json", "--transport", "http", "--port", str(port), "--no-banner"]
            self.child = subprocess.Popen(command, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self.stop)
        self.url = f"http://127.0.0.1:{port}/mcp"
        kit.until("fastmcp", lambda: "Uvicorn running" in (folder / "log").read_text(), 60)
        file = secret(kit.folder(), "client.secret", SECRET + "\n")
        here = f"http://127.0.0.1:{self.between.port}"
        self.provider = f'[[providers]]\nid = "login"\noauth = {{ client_id = "gateway", token_url = "{here}/token", revocation_url = "{here}/token/revocation", client_secret_file = "{file}" }}\n'
        self.lent = '{ provider = "login", scopes = ["tickets.read"], inject = { header = "Authorization", prefix = "Bearer " } }'

    def way(self):
        return f'url = "{self.url}"\nprotocol = "legacy"'

    def held(self, _):
        """What its issuer says that it issued, and has not taken back."""
        return [{"token": token} for token in self.issuer.issued if self.works({"token": token})]

    def works(self, held):
        return self.issuer.introspect(held["token"])["active"]

    def take_away(self, held):
        self.issuer.revoke("gateway", held["token"])

    def refuse(self):
        self.between.down()

    def permit(self):
        self.between.up()

    async def bare(self):
        async with streamablehttp_client(self.url, {"Authorization": "Bearer of-nobody"}) as (reading, writing, _):
            return await self.asked(reading, writing)

    def stop(self):
        """Ends it: only this one."""
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait(20)


def services():
    """The kinds of them."""
    return [BySession, ByProgram, ByVariable, ByHeader]
