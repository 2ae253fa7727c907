"""Part B: `kill -9` of the gateway at each step of mint, use and revoke. See `run`."""

import argparse
import random
import sys
import threading
import time
from collections import Counter

import kit
from stand import ByBao, ByPostgres, Stand

checks = kit.Checks()
parser = argparse.ArgumentParser()
parser.add_argument("binary", nargs="?")
parser.add_argument("--rounds", type=int, default=60)
parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
asked = parser.parse_args()
program = kit.binary(asked.binary)

# Pieces that pass between the gateway and the issuer, more than there are in either.
PIECES = {ByPostgres: {"mint": 14, "revoke": 30}, ByBao: {"mint": 10, "revoke": 6}}
# What is not taken back by its issuer within this time, seconds, was forgotten. A token whose answer was lost lives for 30 s.
PATIENCE = 90


def quietly(work, *arguments):
    """Whose end the kill is."""

    def guarded():
        try:
            work(*arguments)
        except Exception:  # noqa: BLE001
            pass

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    return thread


class Rounds:
    def __init__(self, kind, rounds, seed):
        self.kind, self.rounds, self.chance, self.seen = kind, rounds, random.Random(seed), Counter()
        self.stand = Stand(program, kind, **({"way": "token"} if kind is ByBao else {}))

    def kill(self, is_dropped):
        self.stand.gateway.child.kill()
        self.stand.gateway.child.wait()
        self.stand.between.release(is_dropped)

    def one(self):
        stand, chance = self.stand, self.chance
        task, agent = stand.grant("db__query" if chance.random() < 0.5 else "db__query,db__execute")
        phase = chance.choice(["mint", "mint", "revoke", "revoke", "use", "any"])
        is_dropped = chance.random() < 0.5
        if phase == "mint":
            at = chance.randint(1, PIECES[self.kind]["mint"])
            stand.between.aim(at)
            done = quietly(agent.call, "db__query", {"sql": "SELECT pg_sleep(1)"})
            self.wait(done, f"mint {at:2}")
        elif phase == "revoke":
            agent.call("db__query", {"sql": "SELECT 1"})
            at = chance.randint(1, PIECES[self.kind]["revoke"])
            stand.between.aim(at)
            self.wait(quietly(stand.gateway.ok, "grants", "complete", task), f"revoke {at:2}")
        elif phase == "use":
            quietly(agent.call, "db__query", {"sql": "SELECT pg_sleep(20)"})
            kit.until("a session in use", lambda: stand.cluster.sessions(), 20)
            self.seen["use"] += 1
        else:
            quietly(agent.call, "db__query", {"sql": "SELECT pg_sleep(1)"})
            time.sleep(chance.random() * 0.6)
            self.seen["any moment"] += 1
        self.kill(is_dropped)
        stand.gateway.start()

    def wait(self, done, step):
        """Until the step is reached, or was never to come."""
        while done.is_alive() and not self.stand.between.reached.wait(0.02):
            pass
        self.seen[step if self.stand.between.reached.is_set() else f"{step.split()[0]} was over"] += 1

    def all(self):
        name = self.kind.name
        with checks.guard(name):
            for number in range(self.rounds):
                try:
                    self.one()
                except Exception as fault:
                    raise RuntimeError(f"in round {number}: {fault}\n{self.stand.gateway.tail()}") from fault
            since = time.monotonic()
            self.stand.wait_until_clean(f"{name}: after {self.rounds} kills", PATIENCE)
            made = self.stand.cluster.ever_made()
            checks.check(f"{name}: {self.rounds} kills, {made} roles were made, and none is left after {time.monotonic() - since:.1f} s", made >= max(1, self.rounds // 8), made)
            steps = ", ".join(f"{step} {count}" for step, count in sorted(self.seen.items()))
            print(f"       {name}: {steps}", flush=True)
            verified = self.stand.gateway.run("audit", "verify")
            checks.check(f"{name}: the record is whole", verified.returncode == 0, verified.stdout + verified.stderr)


print(f"seed {asked.seed}", flush=True)
threads = [threading.Thread(target=Rounds(kind, asked.rounds // 2, asked.seed + number).all) for number, kind in enumerate((ByPostgres, ByBao))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(checks.end())
