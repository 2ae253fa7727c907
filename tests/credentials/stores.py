"""Databases, and the servers that agents reach them by."""

import atexit
import os
import subprocess
from functools import cache
from pathlib import Path

import kit
import psycopg
import redis
from cluster import Cluster
from stand import ByBao, ByPostgres
from whole import USUAL, Case

PROGRAMS = Path(os.environ["BAILIWICK_SERVERS"])
FOUND = "the first"


@cache
def cluster():
    """One PostgreSQL for both servers that use one."""
    return Cluster()


@cache
def bao():
    """One OpenBao, with roles in that PostgreSQL."""
    return ByBao(cluster(), kit.folder())


class Relational(Case):
    """What both have in common."""

    found = FOUND

    def end(self, user):
        """Nobody is let in as this one any more, and who is in goes."""
        cluster().admin.execute(f'ALTER ROLE "{user}" NOLOGIN')
        cluster().all("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", user)

    def signed_in(self, user, password):
        """Whether the database lets this user in, to what it may read."""
        try:
            with psycopg.connect(host="127.0.0.1", port=cluster().port, dbname="app", user=user, password=password) as session:
                return session.execute("SELECT text FROM tickets").fetchall() != []
        except psycopg.OperationalError as fault:
            if "authentication failed" in str(fault) or "not permitted" in str(fault):
                return False
            raise


class ByAddress(Relational):
    """`@bytebase/dbhub`: an address with a user and a password in one variable. The gateway makes the role itself."""

    name = "dbhub (PostgreSQL): a DSN"
    tool, arguments = "execute_sql", {"sql": "SELECT text FROM tickets"}
    command = [os.environ["BAILIWICK_OIDC_NODE"], f"{os.environ['BAILIWICK_SERVERS_NODE']}/@bytebase/dbhub/dist/index.js"]
    env, variables = USUAL, ("DSN",)
    why = "not permitted to log in"

    def __init__(self):
        self.provider = ByPostgres(cluster(), kit.folder()).entry
        variables = f'DSN = "postgres://{{username}}:{{password}}@127.0.0.1:{cluster().port}/app?sslmode=disable"'
        self.lent = f'{{ provider = "issuer", role = "tickets_ro", inject = {{ variables = {{ {variables} }} }} }}'

    def parts(self, held):
        user, _, password = held["DSN"].removeprefix("postgres://").partition("@")[0].partition(":")
        return user, password

    def secrets(self, held):
        return [held["DSN"], self.parts(held)[1]]

    def works(self, held):
        return self.signed_in(*self.parts(held))

    def take_away(self, held):
        self.end(self.parts(held)[0])

    def refuse(self):
        cluster().admin.execute("ALTER ROLE bailiwick NOLOGIN")

    def permit(self):
        cluster().admin.execute("ALTER ROLE bailiwick LOGIN")

    def without(self):
        return {"DSN": f"postgres://postgres@127.0.0.1:{cluster().port}/app?sslmode=disable"}


class ByFile(Relational):
    """`mcp-alchemy`: the database's own client reads the password from a file. OpenBao makes the role."""

    name = "mcp-alchemy (PostgreSQL): a file"
    tool, arguments = "execute_query", {"query": "SELECT text FROM tickets"}
    command = [PROGRAMS / "mcp-alchemy"]
    variables = ("PGPASSFILE", "PGUSER")
    why = "permission denied"

    def __init__(self):
        self.env = {**USUAL, "DB_URL": f"postgresql+psycopg://127.0.0.1:{cluster().port}/app"}
        self.provider = bao().entry
        inject = 'files = { PGPASSFILE = "*:*:app:{username}:{password}\\n" }, variables = { PGUSER = "{username}" }'
        self.lent = f'{{ provider = "issuer", role = "database/creds/tickets-ro", token_policies = ["tickets-ro"], inject = {{ {inject} }} }}'

    def secrets(self, held):
        return [held["PGPASSFILE"].strip().rsplit(":", 1)[1]]

    def works(self, held):
        return self.signed_in(held["PGUSER"], *self.secrets(held))

    def take_away(self, held):
        self.end(held["PGUSER"])

    def refuse(self):
        bao().bao.write("sys/policies/acl/tickets-ro", policy='path "database/creds/tickets-ro" { capabilities = ["deny"] }')

    def permit(self):
        bao().bao.write("sys/policies/acl/tickets-ro", policy='path "database/creds/tickets-ro" { capabilities = ["read"] }')

    def without(self):
        return {"PGUSER": "postgres"}


ISSUER = "of-the-issuer-0123456789"


class Redis:
    """A server of the script's own, with OpenBao as the only one who may make users."""

    def __init__(self):
        folder, self.port = kit.folder(), kit.free_port()
        lines = [f"port {self.port}", "bind 127.0.0.1", 'save ""', "appendonly no", f"dir {folder}", "user default off", f"user openbao on >{ISSUER} ~* &* +@all", "user admin on >admin ~* &* +@all"]
        (folder / "conf").write_text("\n".join(lines) + "\n")
        self.child = subprocess.Popen(["redis-server", folder / "conf"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        atexit.register(self.stop)
        self.admin = self.client("admin", "admin")
        kit.until("Redis", self._is_up)

    def client(self, user, password):
        """A client of this user's."""
        return redis.Redis(host="127.0.0.1", port=self.port, username=user, password=password, decode_responses=True)

    def _is_up(self):
        try:
            return self.admin.ping()
        except redis.ConnectionError:
            return False

    def stop(self):
        """Ends it: only this one."""
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait(20)


class ByVariables(Case):
    """`redis-mcp-server`: a user and a password in variables of their own. OpenBao makes the user."""

    name = "redis-mcp-server (Redis): a user and a password"
    tool, arguments, found = "get", {"key": "tickets:1"}, FOUND
    env, variables = USUAL, ("REDIS_USERNAME", "REDIS_PWD")
    why = "OpenBao answers with 500"

    def __init__(self):
        self.redis = Redis()
        self.redis.admin.set("tickets:1", FOUND)
        self.command = [PROGRAMS / "redis-mcp-server", "--host", "127.0.0.1", "--port", str(self.redis.port)]
        write = bao().bao.write
        write("database/config/cache", plugin_name="redis-database-plugin", allowed_roles="cache", host="127.0.0.1", port=self.redis.port, username="openbao", password=ISSUER, tls=False)
        write("database/roles/cache", db_name="cache", creation_statements='["~tickets:*", "+@read", "+@connection"]', default_ttl="1h", max_ttl="24h")
        write("sys/policies/acl/cache", policy='path "database/creds/cache" { capabilities = ["read"] }')
        write("auth/token/roles/bailiwick", allowed_policies=["tickets-ro", "tickets-rw", "notes", "cache"], orphan=True, renewable=True, token_type="service", token_no_default_policy=True)
        self.provider = bao().entry
        inject = 'variables = { REDIS_USERNAME = "{username}", REDIS_PWD = "{password}" }'
        self.lent = f'{{ provider = "issuer", role = "database/creds/cache", token_policies = ["cache"], inject = {{ {inject} }} }}'

    def secrets(self, held):
        return [held["REDIS_PWD"]]

    def works(self, held):
        try:
            return self.redis.client(held["REDIS_USERNAME"], held["REDIS_PWD"]).get("tickets:1") == FOUND
        except redis.AuthenticationError:
            return False

    def take_away(self, held):
        self.redis.admin.acl_deluser(held["REDIS_USERNAME"])

    def refuse(self):
        self.redis.admin.acl_setuser("openbao", enabled=False)
        self.redis.admin.client_kill_filter(user="openbao")

    def permit(self):
        self.redis.admin.acl_setuser("openbao", enabled=True)


def stores():
    """The kinds of them."""
    return [ByAddress, ByFile, ByVariables]
