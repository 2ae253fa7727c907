"""Sessions of a role of a security token service that others rebuilt: with signatures checked, narrowed by a policy, named for the agent."""

import json
import sys
from pathlib import Path

import kit
from cloud import REGION, TRUST, Moto, rights
from lent import AGENT, call, connector, secret, secrets

checks = kit.Checks()
folder = kit.folder()

moto = Moto()
iam = moto.client("iam", aws_access_key_id="first", aws_secret_access_key="first")
roles = {}
for name in ("worker", "reader"):
    roles[name] = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=rights())
iam.create_user(UserName="gateway")
iam.put_user_policy(UserName="gateway", PolicyName="all", PolicyDocument=rights())
keys = iam.create_access_key(UserName="gateway")["AccessKey"]
secret(folder, "aws.secret", keys["SecretAccessKey"] + "\n")
secret(folder, "forged.secret", "x" * 40 + "\n")
policy = folder / "policy.json"
policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::tickets/a"}]}, indent=4))
moto.check_signatures()

SERVER = str(Path(__file__).resolve().parent / "caller.py")


def provider(name, file):
    """The service, with the keys of this file."""
    return f'[[providers]]\nid = "{name}"\naws = {{ region = "{REGION}", endpoint = "{moto.url}", access_key_id = "{keys["AccessKeyId"]}", secret_access_key_file = "{folder}/{file}" }}\n'


def lent(of, more=""):
    """What a connector is lent: three variables."""
    variables = 'AWS_ACCESS_KEY_ID = "{access_key_id}", AWS_SECRET_ACCESS_KEY = "{secret_access_key}", AWS_SESSION_TOKEN = "{session_token}"'
    return f'{{ provider = "{of}", role = "{roles["worker"]}", read_role = "{roles["reader"]}", session_policy = "{policy}"{more}, inject = {{ variables = {{ {variables} }} }} }}'


way = f'command = ["{sys.executable}", "{SERVER}"]\nenv = {{ CALLER_URL = "{moto.url}", CALLER_REGION = "{REGION}" }}'
short = connector("brief", way, lent("sts")).replace('ttl = "1h"', 'ttl = "5m"')
parts = [AGENT, provider("sts", "aws.secret"), provider("forged", "forged.secret")]
parts += [connector("cloud", way, lent("sts")), connector("fake", way, lent("forged")), short]
parts.append(connector("longer", way, lent("sts", ", may_outlive = true")).replace('ttl = "1h"', 'ttl = "5m"'))
gateway = kit.Gateway(kit.binary(sys.argv[1] if len(sys.argv) > 1 else None), "".join(parts))

with checks.guard("a session"):
    said = call(gateway, "cloud-work", "cloud__change")
    checks.check("the cloud knows whose session it is: the role's, and the agent's", "assumed-role/worker/bot-" in said, said)
    said = call(gateway, "cloud-read", "cloud__look")
    checks.check("a task that reads has the role that reads", "assumed-role/reader/bot-" in said, said)
    gateway.ok("grants", "complete", "cloud-work")
    records = secrets(gateway, "cloud")
    minted = [record for record in records if record["event"] == "minted" and "grant" in record]
    checks.check("it is shown that nobody takes it back", minted and not any(record["revocable"] for record in minted), minted)
    checks.check("the record has no key", keys["SecretAccessKey"] not in json.dumps(records), records)

with checks.guard("signatures"):
    said = call(gateway, "fake-work", "fake__change")
    checks.check("with a key that is not the gateway's nothing is lent", said.startswith("refused"), said)
    why = [record.get("why", "") for record in secrets(gateway, "fake") if record["event"] == "refused"]
    checks.check("the record says why", why and "Signature" in why[0], why)

with checks.guard("a task of five minutes"):
    said = call(gateway, "brief-work", "brief__change")
    checks.check("it is lent nothing that outlives it", said.startswith("refused"), said)
    why = [record.get("why", "") for record in secrets(gateway, "brief") if record["event"] == "refused"]
    checks.check("the record says what to do", why and "may_outlive" in why[-1], why)
    said = call(gateway, "longer-work", "longer__change")
    checks.check("unless that is allowed", "assumed-role/worker/bot-" in said, said)

sys.exit(checks.end())
