"""Installation tokens: an app's proof that a library of others checks, answers in the shape that GitHub documents, and their end."""

import json
import sys

import kit
from forge import Forge
from lent import AGENT, Downstream, call, connector, secrets

checks = kit.Checks()
forge = Forge()
alive, ended, proofs = forge.alive, forge.ended, forge.proofs
downstream = Downstream(lambda token: token in alive and json.dumps(alive[token], sort_keys=True))


def lent(repository):
    """What a connector for this repository is lent."""
    inject = 'inject = { header = "Authorization", prefix = "Bearer " }'
    return f'{{ provider = "app", repositories = ["{repository}"], permissions = {{ issues = "write" }}, read_permissions = {{ issues = "read" }}, {inject} }}'


parts = [AGENT, forge.provider()]
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
