"""A program that makes keys of a user for a task, and deletes them: what an admin writes for a cloud that takes no session back."""

import contextlib
import json
import sys
import time

import boto3

told = json.load(open(sys.argv[1]))
with open(told["file"]) as file:
    keys = {"aws_access_key_id": told["id"], "aws_secret_access_key": file.read().strip()}
iam = boto3.client("iam", region_name=told["region"], endpoint_url=told["url"], **keys)
asked = json.load(sys.stdin)["spec"]
answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {}}
if asked["verb"] == "mint":
    made = iam.create_access_key(UserName=asked["role"])["AccessKey"]
    file = f"[default]\naws_access_key_id = {made['AccessKeyId']}\naws_secret_access_key = {made['SecretAccessKey']}\n"
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + asked["ttlSeconds"]))
    answer["status"] = {"token": file, "expirationTimestamp": ends, "bailiwickHandle": [asked["role"], made["AccessKeyId"]]}
elif handle := asked.get("handle"):
    # What is not there any more is taken back already.
    with contextlib.suppress(iam.exceptions.NoSuchEntityException):
        iam.delete_access_key(UserName=handle[0], AccessKeyId=handle[1])
print(json.dumps(answer))
