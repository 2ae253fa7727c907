"""A PostgreSQL, an issuer of roles in it, something between that issuer and the gateway, and a gateway."""

import json
import sys
from pathlib import Path

import kit
from bao import Bao
from between import Between
from cluster import PASSWORDS, Cluster

HERE = Path(__file__).resolve().parent

# What README tells an admin to write.
POLICIES = {
    "bailiwick": """
path "auth/token/create/bailiwick" { capabilities = ["create", "update"] }
path "auth/token/renew-accessor" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
""",
    "tickets-ro": 'path "database/creds/tickets-ro" { capabilities = ["read"] }\n',
    "tickets-rw": 'path "database/creds/tickets-rw" { capabilities = ["read"] }\n',
    "notes": 'path "secret/data/notes" { capabilities = ["read"] }\n',
}
CREATION = [
    """CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE PARENT""",
    'GRANT "{{name}}" TO openbao',
]
REVOCATION = [
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'",
    'ALTER ROLE "{{name}}" NOLOGIN',
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'",
    'REASSIGN OWNED BY "{{name}}" TO PARENT',
    'DROP OWNED BY "{{name}}"',
    'DROP ROLE "{{name}}"',
]

CONFIG = """
[console]
enabled = false

[approvals]
allow_same_user = true

[[agents]]
id = "worker"
owner = "team@example.com"

{provider}

[[connectors]]
id = "db"
command = ["{python}", "{here}/database.py"]
pin = "first-use"
credential = {{ provider = "issuer", {lent}, inject = {{ variables = {{ DSN = "postgresql://{{username}}:{{password}}@127.0.0.1:{port}/app" }} }} }}
tools.query = {{ kind = "read", band = "low", labels = [] }}
tools.execute = {{ kind = "write", band = "medium", labels = [] }}
"""


class ByPostgres:
    """The gateway makes the roles itself."""

    name = "postgres"
    lent = 'role = "tickets_rw", read_role = "tickets_ro"'

    def __init__(self, cluster, folder):
        self.cluster, self.between = cluster, Between(cluster.port)
        secret(folder / "password", PASSWORDS["bailiwick"])
        self.entry = f"""[[providers]]
id = "issuer"
postgres = {{ url = "postgresql://bailiwick@127.0.0.1:{self.between.port}/app", password_file = "{folder}/password" }}
"""

    def standing(self):
        """What of its own is there, besides the roles."""
        return []


class ByBao:
    """OpenBao makes them, for the child token of a task."""

    name = "openbao"
    lent = 'role = "database/creds/tickets-rw", read_role = "database/creds/tickets-ro", token_policies = ["tickets-rw"], read_token_policies = ["tickets-ro"]'

    def __init__(self, cluster, folder, way="approle"):
        self.cluster, self.bao = cluster, Bao()
        bao = self.bao
        self.between = Between(int(bao.url.rsplit(":", 1)[1]))
        for name, text in POLICIES.items():
            bao.write(f"sys/policies/acl/{name}", policy=text)
        bao.write("sys/mounts/database", type="database")
        url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{cluster.port}/app?sslmode=disable"
        bao.write(
            "database/config/app", plugin_name="postgresql-database-plugin", allowed_roles="tickets-*", connection_url=url,
            username="openbao", password=PASSWORDS["openbao"], password_authentication="scram-sha-256",
        )
        for access in ("ro", "rw"):
            of = lambda statements: [statement.replace("PARENT", f"tickets_{access}") for statement in statements]
            bao.write(f"database/roles/tickets-{access}", db_name="app", creation_statements=of(CREATION), revocation_statements=of(REVOCATION), default_ttl="1h", max_ttl="24h")
        bao.write("auth/token/roles/bailiwick", allowed_policies=["tickets-ro", "tickets-rw", "notes"], orphan=True, renewable=True, token_type="service", token_no_default_policy=True)
        bao.write("secret/data/notes", data={"username": "notes", "password": "kept-0123456789abcdef"})
        entry = f'url = "http://127.0.0.1:{self.between.port}", token_role = "bailiwick"'
        if way == "approle":
            bao.write("sys/auth/approle", type="approle")
            bao.write("auth/approle/role/bailiwick", token_policies=["bailiwick"], token_no_default_policy=True, token_ttl="1h", token_type="service")
            role_id = bao.read("auth/approle/role/bailiwick/role-id")["data"]["role_id"]
            secret(folder / "secret-id", bao.write("auth/approle/role/bailiwick/secret-id")["secret_id"])
            entry += f', role_id = "{role_id}", secret_id_file = "{folder}/secret-id"'
        else:
            made = bao.write("auth/token/create-orphan", policies=["bailiwick"], period="24h", no_default_policy=True)
            secret(folder / "token", made["auth"]["client_token"])
            entry += f', token_file = "{folder}/token"'
        self.entry = f'[[providers]]\nid = "issuer"\nopenbao = {{ {entry} }}\n'

    def _list(self, path):
        try:
            return self.bao._ask("LIST", path, None)["data"]["keys"]
        except RuntimeError as fault:
            if ": 404 " in str(fault):
                return []
            raise

    def leases(self):
        """The leases of the database engine."""
        return [lease for access in ("ro", "rw") for lease in self._list(f"sys/leases/lookup/database/creds/tickets-{access}/")]

    def tokens(self):
        """The accessors of the tokens that were made for tasks."""
        found = []
        for accessor in self._list("auth/token/accessors/"):
            try:
                token = self.bao.write("auth/token/lookup-accessor", accessor=accessor)
            except RuntimeError:
                continue
            if (token.get("meta") or {}).get("lease"):
                found.append(accessor)
        return found

    def standing(self):
        """What of its own is there, besides the roles."""
        return self.leases() + self.tokens()


def secret(path, text):
    """A file that only its owner reads."""
    path.touch(mode=0o600)
    path.write_text(text)


class Stand:
    """One of each."""

    def __init__(self, program, kind, more="", **how):
        self.cluster, self.folder = Cluster(), kit.folder()
        self.issuer = kind(self.cluster, self.folder, **how)
        self.between = self.issuer.between
        config = CONFIG.format(provider=self.issuer.entry, lent=self.issuer.lent, port=self.cluster.port, python=sys.executable, here=HERE)
        self.gateway = kit.Gateway(program, config + more)
        self.count = 0

    def grant(self, tools):
        """A grant for some tools: its id, and an agent under it."""
        self.count += 1
        name = f"task-{self.count}"
        token = self.gateway.ok("grants", "create", "--id", name, "--agent", "worker", "--tools", tools, "--purpose", "a task", "--ttl", "15m")
        return name, kit.Agent(self.gateway.url, token)

    def wait_until_clean(self, what, patience=30):
        """Until nothing that was made is there."""
        kit.until(f"{what}: nothing left", lambda: not self.cluster.made() and not self.cluster.sessions() and not self.issuer.standing(), patience)

    def why(self):
        """Why the last credential was not lent, by the record."""
        tail = self.gateway.json("audit", "tail", "-n", "40", "--stream", "secrets")
        told = [row for row in tail if json.dumps(row).find('"refused"') >= 0]
        return json.dumps(told[-1]) if told else ""
