"""An MCP server over stdio that puts each call which it executes into a file, before it answers. Usage: downstream.py LOG GENERATION.

`before` and `after` are how long it works before and after that, milliseconds, and `size` is how long its answer is. Each line says
in which life of the gateway the server was started (the text of the file GENERATION then): nothing of an earlier one is taken for a
later.
"""

import json
import os
import sys
import threading
import time

NUMBER = {"type": "integer", "minimum": 0, "maximum": 1000000}
ARGUMENTS = {"mark": {"type": "string", "maxLength": 100}, "n": NUMBER, "before": NUMBER, "after": NUMBER, "size": NUMBER}
SCHEMA = {"type": "object", "properties": ARGUMENTS, "required": ["mark", "n"]}
TOOLS = [{"name": name, "description": f"Does something ({name})", "inputSchema": SCHEMA} for name in ["act", "like"]]


class Server:
    def __init__(self, log, generation):
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(generation, encoding="ascii") as text:
            self.generation = int(text.read())
        self.lock, self.count = threading.Lock(), 0

    def serve(self):
        for line in sys.stdin:
            asked = json.loads(line)
            if "id" not in asked or "method" not in asked:
                continue
            if asked["method"] == "tools/call":
                threading.Thread(target=self.call, args=(asked,), daemon=True).start()
            else:
                self.answer(asked)
        # Whoever was at work goes on with it for a moment, as a server does that notices the end of its input late.
        time.sleep(0.1)

    def answer(self, asked):
        info = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "crash", "version": "1"}}
        results = {"initialize": info, "tools/list": {"tools": TOOLS}, "ping": {}}
        if asked["method"] in results:
            self.say({"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]})
        else:
            self.say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no such method"}})

    def call(self, asked):
        tool, arguments = asked["params"]["name"], asked["params"]["arguments"]
        time.sleep(arguments.get("before", 0) / 1000)
        with self.lock:
            self.count += 1
            done = f"{self.generation}-{os.getpid()}-{self.count}"
        record = {"generation": self.generation, "done": done, "tool": tool, "arguments": arguments}
        os.write(self.log, (json.dumps(record) + "\n").encode())
        time.sleep(arguments.get("after", 0) / 1000)
        text = done + " " + "x" * arguments.get("size", 0)
        self.say({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": [{"type": "text", "text": text}]}})

    def say(self, message):
        with self.lock:
            try:
                sys.stdout.write(json.dumps(message) + "\n")
                sys.stdout.flush()
            except OSError:
                # Nobody hears it any more.
                pass


if __name__ == "__main__":
    Server(sys.argv[1], sys.argv[2]).serve()
