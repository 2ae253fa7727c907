"""A real PostgreSQL of the test's own: on loopback, in a temporary folder, as a user without rights."""

import atexit
import glob
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import kit
import psycopg

PASSWORDS = {"bailiwick": "of-the-gateway-0123456789", "openbao": "of-the-issuer-0123456789"}

SETUP = """
CREATE ROLE tickets_ro NOLOGIN; CREATE ROLE tickets_rw NOLOGIN;
CREATE ROLE bailiwick LOGIN CREATEROLE PASSWORD '{bailiwick}';
CREATE ROLE openbao LOGIN CREATEROLE PASSWORD '{openbao}';
GRANT tickets_ro, tickets_rw TO bailiwick WITH ADMIN OPTION;
GRANT tickets_ro, tickets_rw TO openbao WITH ADMIN OPTION;
CREATE TABLE tickets (id serial PRIMARY KEY, text text NOT NULL);
INSERT INTO tickets (text) VALUES ('the first');
GRANT SELECT ON tickets TO tickets_ro;
GRANT SELECT, INSERT ON tickets TO tickets_rw;
GRANT USAGE ON SEQUENCE tickets_id_seq TO tickets_rw;
GRANT CREATE ON SCHEMA public TO tickets_rw;
"""


class Cluster:
    """One that runs until the script ends."""

    def __init__(self):
        bin_folder = Path(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))[-1]).parent
        self.folder = Path(tempfile.mkdtemp(prefix="bailiwick-pg-"))
        self.port = kit.free_port()
        self.who = {}
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data, log = self.folder / "data", self.folder / "log"
        init = [bin_folder / "initdb", "-D", data, "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self.who)
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder, "fsync": "off", "log_statement": "all", "max_connections": 200}
        command = [bin_folder / "postgres", "-D", data, *(word for key, value in settings.items() for word in ("-c", f"{key}={value}"))]
        with log.open("wb") as out:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder, **self.who)
        atexit.register(self.stop)
        self.admin = kit.until("PostgreSQL", self._connected, 60)
        self.admin.execute("CREATE DATABASE app")
        self.admin = self._connected("app")
        self.admin.execute(SETUP.format(**PASSWORDS))

    def _connected(self, database="postgres"):
        try:
            return psycopg.connect(host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True)
        except psycopg.OperationalError:
            return None

    def all(self, statement, *values):
        """The first column of the rows."""
        return [row[0] for row in self.admin.execute(statement, values).fetchall()]

    def made(self):
        """The roles that an issuer made, and are there."""
        return self.all("SELECT rolname FROM pg_roles WHERE rolname LIKE 'bailiwick\\_%%' OR rolname LIKE 'v-%%' ORDER BY 1")

    def sessions(self):
        """Whose sessions are open, of those."""
        return self.all("SELECT usename FROM pg_stat_activity WHERE usename LIKE 'bailiwick\\_%%' OR usename LIKE 'v-%%' ORDER BY 1")

    def parents(self, role):
        """The roles that it is in."""
        return self.all("SELECT p.rolname FROM pg_auth_members m JOIN pg_roles p ON p.oid = m.roleid JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = %s", role)

    def log(self):
        """All that it wrote down."""
        return (self.folder / "log").read_text(errors="replace")

    def ever_made(self):
        """How many roles were ever asked for, by its own log."""
        return len(set(re.findall(r'CREATE ROLE "((?:bailiwick_|v-)[^"]+)"', self.log())))

    def stop(self):
        """Ends it: only this one."""
        if self.child.poll() is None:
            self.child.send_signal(2)
            self.child.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)
