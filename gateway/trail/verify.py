#!/usr/bin/env python3
"""Checks a Bailiwick trail at rest without any of its code: verify.py FOLDER"""
import glob, hashlib, json, sys

def check(folder, stream, head):
    prev, seq = hashlib.sha256(b"bailiwick-trail v1 genesis " + stream.encode()).hexdigest(), 0
    for path in sorted(glob.glob(f"{folder}/{stream}-{'[0-9]' * 20}.jsonl")):
        for number, line in enumerate(open(path, "rb"), 1):
            seq, line = seq + 1, line.removesuffix(b"\n")
            begin = b'{"v":1,"stream":"%s","seq":%d,"time":"' % (stream.encode(), seq)
            digest = hashlib.sha256(line[:-82]).hexdigest()
            end = ',"prev":"sha256:%s","hash":"sha256:%s"}' % (prev, digest)
            if not (line.startswith(begin) and line.endswith(end.encode()) and json.loads(line)):
                sys.exit(f"{path}:{number}: record {seq} of {stream} is not as it was written")
            prev = digest
            if seq == head["seq"] and head["hash"] != "sha256:" + digest:
                sys.exit(f"{path}:{number}: record {seq} of {stream} is not the one in heads.json")
    if seq < head["seq"]:
        sys.exit(f"{stream}: record {seq + 1} is missing: there were {head['seq']}")
    print(f"{stream}: chain OK, {seq} records")

for stream, head in json.load(open(f"{sys.argv[1]}/heads.json"))["streams"].items():
    check(sys.argv[1], stream, head)
