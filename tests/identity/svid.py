"""X.509-SVIDs that a real OpenBao issues prove agents over TLS, through rotation of the authority and until it is gone."""

import http.client
import json
import os
import ssl
import sys
import time

import kit
from agent import CONNECTOR, Agent
from bao import Bao

AGENT = "spiffe://example.org/agent/billing-bot"
STRANGER = "spiffe://example.org/agent/nobody"

checks = kit.Checks()


class Authority:
    """A PKI engine of OpenBao."""

    def __init__(self, bao, mount, **role):
        self.bao = bao
        self.mount = mount
        bao.write(f"sys/mounts/{mount}", type="pki", config={"max_lease_ttl": "24h"})
        self.root = bao.write(f"{mount}/root/generate/internal", common_name=f"{mount} root", ttl="12h", key_type="ec")["certificate"]
        bao.write(f"{mount}/roles/default", key_type="ec", max_ttl="1h", require_cn=False, **role)

    def issue(self, **names):
        """A certificate with its key, both PEM."""
        issued = self.bao.write(f"{self.mount}/issue/default", ttl="30m", **names)
        return issued["certificate"] + "\n", issued["private_key"] + "\n"

    def rotate(self):
        """Another authority issues from here on."""
        made = self.bao.write(f"{self.mount}/root/rotate/internal", common_name=f"{self.mount} next root", ttl="12h", key_type="ec")
        self.bao.write(f"{self.mount}/config/issuers", default=made["issuer_id"])
        self.root = made["certificate"]


class Tls(Agent):
    """An agent over one kept connection with TLS."""

    def __init__(self, url, roots, identity=None):
        self.context = ssl.create_default_context(cadata=roots)
        if identity:
            file = kit.folder() / "identity.pem"
            file.write_text("".join(identity))
            self.context.load_cert_chain(file)
        super().__init__(url)

    def _connection(self):
        return http.client.HTTPSConnection(self.where.netloc, timeout=30, context=self.context)


def is_let_in(url, roots, identity=None):
    """Whether a request over a new connection is answered at all."""
    try:
        Tls(url, roots, identity).status()
    except OSError:
        return False
    return True


def written(path, text):
    """Puts a file in place whole, for its owner alone."""
    fresh = path.with_suffix(".fresh")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    os.replace(fresh, path)
    return path


def config(folder, bundle):
    """The connectors and tools of the demo, for an agent that is known by its SPIFFE id."""
    return f"""
[server]
header_timeout = "90s"
[server.tls]
listen = "127.0.0.1:0"
certificate = "{folder}/server.pem"
key = "{folder}/server.key"
[[trust_domains]]
name = "example.org"
{bundle}
[[agents]]
id = "billing-bot"
owner = "billing@example.com"
ceiling = "high"
identity = [{{ spiffe = "{AGENT}" }}]
{CONNECTOR}
[[grants]]
id = "billing"
agent = "billing-bot"
purpose = "bill"
tools = ["echo__*"]
default = true
"""


def start(bundle):
    """A gateway, its URL over TLS, and its folder."""
    folder = kit.folder()
    certificate, key = web.issue(ip_sans="127.0.0.1")
    written(folder / "server.pem", certificate)
    written(folder / "server.key", key)
    text = config(folder, bundle(folder))
    gateway = kit.Gateway(kit.binary(*sys.argv[1:2]), text)
    return gateway, gateway.said.split("by X.509-SVID, at ")[1].split()[0], folder


bao = Bao()
web = Authority(bao, "web", allow_any_name=True, allow_ip_sans=True)
workloads = Authority(bao, "workloads", allowed_uri_sans="spiffe://example.org/*")
elsewhere = Authority(bao, "elsewhere", allowed_uri_sans="spiffe://*")


def in_file(folder):
    """The bundle as a file."""
    return f'bundle_file = "{written(folder / "bundle.pem", workloads.root)}"'


with checks.guard("an OpenBao's certificates"):
    gateway, url, folder = start(in_file)
    own = workloads.issue(uri_sans=AGENT)
    agent = Tls(url, web.root, own)
    checks.equal("an agent lists its tools by its SVID", agent.tools(), ["echo__echo"])
    checks.equal("and calls them", agent.call("hello"), (200, "hello"))
    record = gateway.json("audit", "tail", "--stream", "calls")
    last = json.dumps(record)
    checks.check("the record names the agent, the way and the instance", all(word in last for word in ['"billing-bot"', '"spiffe_x509"', '"x509-']), last)
    checks.equal("an id that is nobody's is refused", Tls(url, web.root, workloads.issue(uri_sans=STRANGER)).status(), 401)
    checks.check("another authority's certificate does not come in", not is_let_in(url, web.root, elsewhere.issue(uri_sans=AGENT)))
    checks.check("nor does one without an id", not is_let_in(url, web.root, web.issue(ip_sans="127.0.0.1")))
    checks.check("nor does nobody", not is_let_in(url, web.root))
    before = workloads.root
    workloads.rotate()
    renewed = workloads.issue(uri_sans=AGENT)
    checks.check("what the next authority issues does not count before its bundle does", not is_let_in(url, web.root, renewed))
    written(folder / "bundle.pem", before + "\n" + workloads.root)
    kit.until("the next authority", lambda: is_let_in(url, web.root, renewed))
    checks.equal("while both count, both come in", (agent.status(), Tls(url, web.root, renewed).tools()), (200, ["echo__echo"]))
    written(folder / "bundle.pem", workloads.root)
    counts = kit.until("the end of the authority before", lambda: agent.status() == 401)
    checks.check("an open connection ends to count with its authority", counts)
    checks.check("and no new one comes about", not is_let_in(url, web.root, own))
    checks.equal("what the next one issued goes on", Tls(url, web.root, renewed).tools(), ["echo__echo"])
    next_web = Authority(bao, "nextweb", allow_any_name=True, allow_ip_sans=True)
    kept = Tls(url, web.root, renewed)
    kept.status()
    certificate, key = next_web.issue(ip_sans="127.0.0.1")
    written(folder / "server.key", key)
    written(folder / "server.pem", certificate)
    kit.until("the gateway's next certificate", lambda: is_let_in(url, next_web.root, renewed))
    checks.equal("the gateway's certificate changes under open connections", kept.status(), 200)
    gateway.stop()

with checks.guard("an OpenBao as bundle endpoint"):
    endpoint = f'bundle_url = "{bao.url}/v1/workloads/ca/pem"\nmax_stale = "8s"'
    gateway, url, folder = start(lambda _: endpoint)
    own = workloads.issue(uri_sans=AGENT)
    agent = Tls(url, web.root, own)
    checks.equal("its authority is asked for at its endpoint", agent.tools(), ["echo__echo"])
    workloads.rotate()
    renewed = workloads.issue(uri_sans=AGENT)
    kit.until("the next authority", lambda: is_let_in(url, web.root, renewed))
    checks.check("rotation needs no restart", Tls(url, web.root, renewed).tools() == ["echo__echo"])
    kit.until("the end of the authority before", lambda: agent.status() == 401)
    agent = Tls(url, web.root, renewed)
    checks.equal("it answers still", agent.status(), 200)
    ended = time.monotonic()
    bao.stop()
    kit.until("the domain to close", lambda: agent.status() == 401, 60)
    checks.check("an endpoint that is gone closes its domain", time.monotonic() - ended > 1 and not is_let_in(url, web.root, renewed))
    gateway.stop()

sys.exit(checks.end())
