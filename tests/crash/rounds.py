"""Rounds of `kill -9`: see `run`."""

import argparse
import atexit
import multiprocessing
import queue
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "real"))
import kit  # noqa: E402
from book import Book, Violation, key_of  # noqa: E402
from errands import KINDS, Budgeted, Errand  # noqa: E402
from wire import Agent, Broken, Gateway  # noqa: E402

# Errands on their way at a time, and how often the chain of records is looked at.
AT_A_TIME, VERIFIED_EVERY = 12, 25
# In part of the rounds the kill comes right after the next of these, in the others whenever it comes.
AIMS = [None] * 6 + ["decision", "call", "execution", "answer"]
# What must have been seen in so many rounds, or the checks of it have checked nothing.
ENOUGH = 200
TO_SEE = [
    "answered by the kept outcome",
    "asked anew after use",
    "asked anew after unknown",
    "asked beyond an allowance",
    "decision cut off, found approved",
    "decision cut off, found pending",
    "failed without credential",
    "found approved",
    "found denied",
    "found pending",
    "found pending, asker cut off",
    "found succeeded",
    "found unknown",
    "killed while it started",
    "ran under an allowance",
    "refused after a no",
    "refused by budget",
    "unknown and executed",
    "unknown and not executed",
]


class House:
    """A data folder, through many lives of its gateway."""

    def __init__(self, program, folder, seed, rounds, asked, report):
        self.rng, self.rounds, self.span, self.report = random.Random(seed), rounds, asked.span, report
        self.gateway = Gateway(program, folder, self.rng)
        self.errands, self.count, self.budget, self.round = {}, 0, None, 0
        self.book = Book(self.gateway, lambda mark: self.errands[mark])
        self.faults, self.over, self.is_draining = [], threading.Event(), False
        self.is_locker_empty, self.one_unread = False, threading.Lock()
        self.calls_out, self.decisions_out, self.tokens, self.agents, self.threads = 0, 0, {}, {}, []
        self.doing = threading.Lock()

    def is_over(self):
        return self.over.is_set() or bool(self.faults)

    def wait_for(self, is_so, what="what is waited for"):
        """Until it is so; says no where the round ends before. It must come in time where no round ends."""
        give_up = time.monotonic() + 30
        while not is_so():
            if self.is_over():
                return False
            if time.monotonic() > give_up:
                raise Violation(f"never came: {what}")
            with self.book.changed:
                self.book.changed.wait(0.02)
        return True

    def thread(self, work, *arguments):
        """Runs beside the others. The end of the gateway ends it, and nothing else may."""

        def guarded():
            try:
                work(*arguments)
            except Broken as why:
                if not self.gateway.is_dying:
                    self.faults.append(f"a connection ended while the gateway was to live: {why}\n{traceback.format_exc()}")
            except Violation as why:
                self.faults.append(str(why))
            except Exception:  # noqa: BLE001: a fault of this check is told as well
                self.faults.append(traceback.format_exc())

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def agent(self, errand):
        """Its agent in this life of the gateway."""
        token = errand.token or self.tokens[errand.agent]
        with self.doing:
            return self.agents.setdefault((token, errand.era), Agent(self.gateway, token, errand.era))

    def call(self, errand, arguments):
        self.book.calling(key_of(arguments))
        with self.doing:
            self.calls_out += 1
        try:
            return self.agent(errand).call(errand.tool, arguments)
        finally:
            # One that is cut off stays counted: it was on its way when the gateway was killed.
            if not self.gateway.is_dying:
                with self.doing:
                    self.calls_out -= 1

    # Persons.

    def decide_all(self):
        """Looks at what waits, and has each decided as it is planned."""
        while not self.is_over():
            for view in self.gateway.get("approvals"):
                if view["state"] != "pending":
                    continue
                one = self.book.known(view)
                if one is None or one.is_taken or one.state != "pending" or one.is_revoked:
                    continue
                if verdict := one.errand.verdict(one, self.round):
                    one.is_taken = True
                    self.thread(self.decide, one, verdict, self.rng.random())
            self.over.wait(0.015)

    def decide(self, one, verdict, chance):
        time.sleep(chance * (0 if self.is_draining else 0.04))
        if self.is_over():
            return
        self.book.deciding(one, "deny" if verdict == "deny" else "approve")
        with self.doing:
            self.decisions_out += 1
        if chance < 0.03 and verdict != "allow":
            words = ["approve", one.code, "--yes"] if verdict == "approve" else ["deny", one.code, "--reason", "no"]
            done = self.gateway.run("approvals", *words)
            if done.returncode and self.gateway.is_dying:
                raise Broken("the command was cut off")
            status, answer = (409, done.stdout + done.stderr) if done.returncode else (200, None)
        else:
            body = {"reason": "crash"}
            if verdict == "allow":
                until_ms = int(time.time() * 1000) + 50 * 60 * 1000
                body["allow"] = {"any": ["/n"], "uses": one.errand.uses, "until_ms": until_ms}
            status, answer = self.gateway.admin("POST", f"approvals/{one.id}/{'deny' if verdict == 'deny' else 'approve'}", body)
        if status == 200:
            self.book.decided(one, "deny" if verdict == "deny" else "approve")
        elif not one.is_revoked:
            self.book.fault(f"a decision was refused: {status} {answer}", one)
        with self.doing:
            self.decisions_out -= 1

    # Rounds.

    def live(self):
        """All rounds, and what is left at their end."""
        self.gateway.spawn()
        self.gateway.wait_until_up()
        for agent in ("held", "quick"):
            self.tokens[agent] = self.gateway.post(f"agents/{agent}/tokens", {"ttl_ms": 24 * 3600 * 1000})["token"]
        for self.round in range(1, self.rounds + 1):
            self.play()
            self.kill()
            self.report(("round", None))
            is_stillborn = self.rng.random() < 0.08
            while is_stillborn:
                # Killed while it starts: whatever it makes good then is made good by the next.
                self.gateway.spawn()
                time.sleep(self.rng.uniform(0, 0.15))
                self.gateway.kill()
                self.book.tally["killed while it started"] += 1
                is_stillborn = self.rng.random() < 0.3
            self.prepare_locker()
            self.gateway.spawn()
            self.gateway.wait_until_up()
            self.look()
            if self.round % VERIFIED_EVERY == 0:
                self.verify()
        self.drain()

    def prepare_locker(self):
        """In some rounds the credential is away for a while."""
        self.is_locker_empty = self.rng.random() < 0.4
        (self.gateway.empty_locker if self.is_locker_empty else self.gateway.fill_locker)()

    def look(self):
        """What the store says after a start."""
        self.book.at_start(self.gateway.get("approvals?all=true"))

    def top_up(self):
        kinds, weights = list(KINDS), list(KINDS.values())
        while sum(not one.is_done for one in self.errands.values()) < AT_A_TIME:
            self.want(self.rng.choices(kinds, weights)[0])

    def want(self, kind):
        """One more errand."""
        self.count += 1
        new = Errand(self, self.count, kind)
        self.errands[new.mark] = new

    def begin(self):
        self.over.clear()
        self.agents, self.calls_out, self.decisions_out = {}, 0, 0
        self.thread(self.decide_all)
        for one in list(self.errands.values()):
            if not one.is_done:
                self.thread(one.go)

    def play(self):
        """Some of a life."""
        self.mind_budget()
        self.top_up()
        self.begin()
        lasts, aim = self.rng.uniform(0, self.span), self.rng.choice(AIMS)
        if self.is_locker_empty:
            back = self.rng.uniform(0, lasts)
            time.sleep(back)
            self.restore_locker()
            lasts -= back
        time.sleep(lasts)
        if aim:
            self.await_next(aim)
            time.sleep(self.rng.uniform(0, 0.012))

    def await_next(self, aim):
        """Until the next thing of this kind happens, or for a while if none does."""
        executed = self.gateway.folder / "executed"
        count = (lambda: executed.stat().st_size) if aim == "execution" else (lambda: self.book.happened[aim])
        before, give_up = count(), time.monotonic() + 0.15
        while count() == before and time.monotonic() < give_up:
            time.sleep(0.0005)

    def restore_locker(self):
        if self.is_locker_empty and self.rng.random() < 0.7:
            self.gateway.fill_locker()
            self.is_locker_empty = False

    def mind_budget(self):
        if self.budget and self.round >= self.budget.until:
            self.budget.close()
            self.budget = None
        if self.budget is None:
            self.count += 1
            self.budget = Budgeted(self, self.count)
            self.errands |= {one.mark: one for one in self.budget.errands}

    def kill(self):
        """Now."""
        with self.doing:
            calls, decisions = self.calls_out, self.decisions_out
        if not self.gateway.kill():
            self.faults.append(f"the gateway had ended by itself, with {self.gateway.child.returncode}")
        self.settle()
        self.book.tally["kills"] += 1
        self.book.tally["kills with a call on its way"] += calls > 0
        self.book.tally["kills with a decision on its way"] += decisions > 0
        self.book.check_executions()

    def settle(self):
        """The threads of a round end with it."""
        self.over.set()
        self.book.wake()
        while self.threads:
            thread = self.threads.pop()
            thread.join(30)
            if thread.is_alive():
                self.faults.append("a caller hangs after the end of the gateway")
        if self.faults:
            raise Violation("\n".join(self.faults[:3]))

    def verify(self):
        done = self.gateway.run("audit", "verify")
        self.book.tally["audit verify"] += 1
        if done.returncode:
            raise Violation(f"audit verify: {done.stdout}{done.stderr}")

    def drain(self):
        """A last life, in which everything gets to its end."""
        if self.budget:
            self.budget.close()
            self.budget = None
        # One of each kind at least goes its whole way.
        for kind in KINDS:
            self.want(kind)
        self.gateway.fill_locker()
        self.is_locker_empty, self.is_draining, self.round = False, True, 10**9
        self.begin()

        def is_settled():
            if self.faults or self.gateway.child.poll() is not None:
                return True
            with self.book.lock:
                is_open = any(one.state in ("pending", "approved") and not one.has_run for one in self.book.by_id.values())
                return not is_open and all(one.is_done for one in self.errands.values())

        give_up = time.monotonic() + 60
        while not is_settled():
            if time.monotonic() > give_up:
                left = [one.mark for one in self.errands.values() if not one.is_done]
                waiting = [str(one) for one in self.book.by_id.values() if one.state == "pending"]
                self.faults.append(f"errands that don't end: {left}, questions {waiting[:5]}")
            time.sleep(0.05)
        self.gateway.is_dying = bool(self.faults)
        self.settle()
        self.gateway.stop()
        self.verify()
        self.gateway.spawn()
        self.gateway.wait_until_up()
        self.look()
        self.gateway.stop()
        self.verify()
        self.book.check_executions()
        self.book.count_unknown()
        self.book.tally["executions"] = len(self.book.executions())
        self.book.tally["approvals"] = len(self.book.by_id)


def live(program, seed, rounds, asked, news, number):
    """One data folder, in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="bailiwick-crash-"))
    house = House(program, folder, f"{seed}-{number}", rounds, asked, news.put)
    fault = None
    try:
        house.live()
    except Exception as why:  # noqa: BLE001: each is told, with where to look
        fault = str(why) if isinstance(why, Violation) else traceback.format_exc()
        if house.faults and not isinstance(why, Violation):
            fault = "\n".join(house.faults[:3]) + "\n" + fault
    finally:
        house.over.set()
        if house.gateway.child and house.gateway.child.poll() is None:
            house.gateway.kill()
    if fault is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        (folder / "diary").write_text("\n".join(house.book.diary) + "\n")
        fault = f"seed {seed}-{number}, round {house.round} of {rounds}, life {house.gateway.generation}, kept in {folder}\n{fault}"
    news.put(("end", (number, dict(house.book.tally), fault)))


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("rounds", nargs="?", type=int, default=1000)
    asked.add_argument("binary", nargs="?")
    asked.add_argument("--side-by-side", type=int, default=2, help="gateways at a time, each on a folder of its own")
    asked.add_argument("--life", type=int, default=50, help="rounds on one data folder")
    asked.add_argument("--seed", type=int, default=None)
    asked.add_argument("--span", type=float, default=0.4, help="a round lasts up to so many seconds from when the gateway is up")
    asked = asked.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(10**9)
    program = kit.binary(asked.binary)
    print(f"{asked.rounds} rounds, seed {seed}, {asked.side_by_side} side by side", flush=True)
    lives = [min(asked.life, asked.rounds - begun) for begun in range(0, asked.rounds, asked.life)]
    news, running, tally, faults, played, began = multiprocessing.Queue(), {}, Counter(), [], 0, time.monotonic()
    atexit.register(lambda: [one.terminate() for one in running.values() if one.is_alive()])
    waiting = list(enumerate(lives))
    while waiting or running:
        while waiting and len(running) < asked.side_by_side and not faults:
            number, rounds = waiting.pop(0)
            one = multiprocessing.Process(target=live, args=(program, seed, rounds, asked, news, number))
            one.start()
            running[number] = one
        try:
            what, about = news.get(timeout=5)
        except queue.Empty:
            for number in [number for number, one in running.items() if not one.is_alive()]:
                faults.append(f"a process of this check ended with {running.pop(number).exitcode} and said nothing")
            continue
        if what == "round":
            played += 1
            if played % 100 == 0:
                print(f"{played} rounds, {time.monotonic() - began:.0f} s, violations={len(faults)}", flush=True)
            continue
        number, counts, fault = about
        tally.update(counts)
        if fault:
            faults.append(fault)
            print(f"VIOLATION {fault}", flush=True)
        running.pop(number).join()
        if faults:
            waiting = []
    for name, count in sorted(tally.items()):
        print(f"       {name}: {count}")
    if played >= ENOUGH and not faults:
        faults += [f"never seen: {name}" for name in TO_SEE if not tally[name]]
        print("\n".join(faults), end="\n" if faults else "")
    took, ran, decided = time.monotonic() - began, tally["executions"], tally["decisions"]
    print(f"{played} rounds in {took:.0f} s, {ran} executions, {decided} decisions, seed {seed}, violations={len(faults)}", flush=True)
    return 1 if faults or played < asked.rounds else 0


if __name__ == "__main__":
    sys.exit(main())
