"""What is known of each approval, what may be so after the gateway was killed, and what must never be."""

import json
import threading
import time
from collections import Counter, defaultdict

OPEN = {"pending", "approved"}
USED = {"unknown", "succeeded"}


class Violation(Exception):
    """Something that must never be."""


def key_of(arguments):
    """What makes two calls one here: each tool has marks of its own."""
    return json.dumps(arguments, sort_keys=True)


class Approval:
    """One approval: how it surely stands, and what was said about it since, whose answer never came."""

    def __init__(self, view, key, errand, generation):
        self.id, self.code, self.key, self.errand, self.born = view["id"], view["code"], key, errand, generation
        self.state = "pending"
        # Said, in which life of the gateway; and whether the answer to that is still out.
        self.yes_in, self.no_in, self.is_out, self.is_taken = None, None, False, False
        # A call under it was answered as done; its life's end was seen in this one.
        self.has_run, self.settled_in = False, None
        self.is_revoked, self.uses, self.verdict = False, 0, None

    def may_be(self, was_called):
        """The states in which it may be found after a kill."""
        if self.has_run:
            return USED
        may = {self.state}
        if self.state == "pending" and self.is_out:
            may |= ({"approved"} if self.yes_in is not None else set()) | ({"denied"} if self.no_in is not None else set())
        if "approved" in may and was_called:
            may |= USED
        if self.is_revoked and may & OPEN:
            may |= {"invalidated"}
        return may

    def __str__(self):
        words = f"{self.id} {self.code} state={self.state} yes_in={self.yes_in} no_in={self.no_in} unanswered={self.is_out}"
        return f"{words} has_run={self.has_run} settled_in={self.settled_in} uses={self.uses} key={self.key}"


class Book:
    """All approvals of a data folder, and all that was executed behind it."""

    def __init__(self, gateway, errand_of):
        self.gateway, self.errand_of = gateway, errand_of
        self.lock, self.changed = threading.RLock(), threading.Condition(threading.RLock())
        self.by_id, self.by_key = {}, defaultdict(list)
        self.called, self.executed, self.read_to = set(), [], 0
        self.tally, self.happened, self.diary = Counter(), Counter(), []

    def note(self, words):
        self.diary.append(f"{time.monotonic():.3f} life {self.gateway.generation}: {words}")

    def fault(self, what, about=None):
        """All that is needed to see what happened."""
        lines = [what]
        key = about.key if isinstance(about, Approval) else about
        if key:
            mark = json.loads(key)["mark"]
            lines += [f"  approval  {one}" for one in self.by_key[key]]
            lines += [f"  executed  {json.dumps(one)}" for one in self.executions() if one["arguments"]["mark"] == mark]
            lines += [f"  diary     {line}" for line in self.diary if mark in line][-60:]
        raise Violation("\n".join(lines))

    def wake(self):
        with self.changed:
            self.changed.notify_all()

    # What agents and operators hear.

    def known(self, view):
        """An approval that is listed as pending, with what it is about."""
        with self.lock:
            if known := self.by_id.get(view["id"]):
                return known
        shown = self.gateway.show(view["id"])
        if shown is None or shown.get("arguments") is None:
            return None
        return self.told(view, key_of(json.loads(shown["arguments"])))

    def told(self, view, key):
        """Somebody was told of it as pending."""
        with self.lock:
            known = self.by_id.get(view["id"])
            if known:
                if known.code != view["code"] or known.key != key:
                    self.fault(f"{view['id']} is called {view['code']} now, or is about something else", known)
                return known
            waiting = [one for one in self.by_key[key] if one.state == "pending" and not one.is_out and not one.is_revoked]
            if waiting:
                self.fault(f"a person is asked again ({view['id']}) while the first question stands", key)
            earlier = [one for one in self.by_key[key] if one.has_run or one.state in USED]
            if earlier:
                self.tally["asked anew after use"] += 1
                self.tally["asked anew after unknown"] += earlier[-1].state == "unknown"
            new = Approval(view, key, self.errand_of(json.loads(key)["mark"]), self.gateway.generation)
            self.by_id[new.id] = new
            self.by_key[key].append(new)
            self.note(f"asked {new.id} {new.code} {key}")
            self.wake()
            return new

    def deciding(self, one, verdict):
        with self.lock:
            if verdict == "approve":
                one.yes_in = self.gateway.generation
            else:
                one.no_in = self.gateway.generation
            one.is_out = True
            self.happened["decision"] += 1
            self.note(f"{verdict} is sent of {one.id} {one.key}")

    def decided(self, one, verdict):
        with self.lock:
            one.is_out = False
            one.state = "approved" if verdict == "approve" else "denied"
            self.tally["decisions"] += 1
            self.note(f"{verdict} is answered of {one.id} {one.key}")
        self.wake()

    def calling(self, key):
        with self.lock:
            self.called.add(key)
            self.happened["call"] += 1
            self.note(f"call is sent {key}")

    def ran(self, key, done):
        """A call was answered as done: it took one approval, which somebody gave."""
        with self.lock:
            self.note(f"call is answered as done {done} {key}")
            able = [one for one in self.by_key[key] if one.yes_in is not None and not one.has_run and one.settled_in is None]
            if not able:
                self.fault(f"{done} ran, and nobody had approved it", key)
            able[0].has_run = True
            self.happened["answer"] += 1
            return able[0]

    # What is so after a kill.

    def at_start(self, views):
        """What the store says before anybody has said anything to this gateway."""
        generation = self.gateway.generation
        with self.lock:
            seen = {view["id"]: view for view in views}
            for one in list(self.by_id.values()):
                view = seen.get(one.id)
                if view is None:
                    self.fault(f"{one.id} is lost", one)
                self.compare(one, view, generation)
            self.check_intents([one for one in self.by_id.values() if one.state == "unknown" and one.settled_in == generation])
            self.called.clear()
        for view in views:
            if view["id"] not in self.by_id:
                # Nobody was told of it: whoever asked was cut off.
                if view["state"] != "pending":
                    raise Violation(f"nobody has heard of {view['id']}, and it is {view['state']}: {json.dumps(view)}")
                self.tally["found pending, asker cut off"] += 1
                if self.known(view) is None:
                    raise Violation(f"{view['id']} is pending, and its arguments can't be read: {json.dumps(view)}")
        self.check_executions(seen)

    def intents(self):
        """The approvals that calls were put on record under, with the grants that paid: without that nothing is ever sent."""
        found = []
        for segment in sorted((self.gateway.data / "trail").glob("calls-*.jsonl")):
            with segment.open("rb") as lines:
                for line in lines:
                    if b'"event":"intent"' in line and line.endswith(b"\n"):
                        record = json.loads(line)
                        found.append((record.get("approval"), record["grant"]))
        return found

    def check_intents(self, unknown):
        """What is unknown had its intent on record. Where it had none nothing was sent, and the yes is spent on nothing."""
        on_record = {approval for approval, _ in self.intents()}
        for one in unknown:
            if one.id not in on_record:
                self.tally["unknown without an intent on record"] += 1
                self.note(f"no intent of {one.id} {one.key}")
                self.fault(f"{one.id} was approved, was never sent (no intent is on record), and is unknown: the yes is lost", one)

    def compare(self, one, view, generation):
        state, may = view["state"], one.may_be(one.key in self.called)
        if view["code"] != one.code:
            self.fault(f"{one.id} is called {view['code']} after a restart", one)
        if state not in may:
            self.fault(f"{one.id} is {state} after a restart, and may only be {sorted(may)}", one)
        if one.settled_in is None:
            self.tally[f"found {state}"] += 1
            if one.is_out:
                self.tally[f"decision cut off, found {state}"] += 1
        if state != one.state:
            self.note(f"found {one.id} as {state}, was {one.state} {one.key}")
        if state not in OPEN and one.settled_in is None:
            one.settled_in = generation
        one.state, one.is_out, one.is_taken = state, False, False
        if state == "pending":
            # What did not arrive was not said.
            one.yes_in = one.no_in = None
        one.uses = len((view.get("allowance") or {}).get("uses", []))

    # What was executed.

    def executions(self):
        """All that was executed so far, by the server's own file. What is half written is read later."""
        with self.lock:
            with (self.gateway.folder / "executed").open("rb") as file:
                file.seek(self.read_to)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self.read_to += len(whole)
            self.executed += [json.loads(line) for line in whole.splitlines()]
            return self.executed

    def check_executions(self, views=None):
        """Each execution stands under a yes of its own, given before it and not used before; with `views` as the store has it."""
        with self.lock:
            executed, by_key, likes = self.executions(), defaultdict(list), Counter()
            for one in executed:
                key = key_of(one["arguments"])
                if one["tool"] == "like" and one["arguments"]["n"] > 0:
                    likes[one["arguments"]["mark"]] += 1
                    self.check_like(one, likes, views)
                else:
                    by_key[key].append(one)
            for key, runs in by_key.items():
                given = [one for one in self.by_key[key] if one.yes_in is not None]
                if len(runs) > len(given):
                    self.fault(f"executed {len(runs)} times and approved {len(given)} times", key)
                for run in runs:
                    life = run["generation"]
                    if not any(one.yes_in <= life and (one.settled_in is None or life < one.settled_in) for one in given):
                        self.fault(f"{run['done']} stands under no approval of its time", key)
            if views is not None:
                self.check_against_store(by_key)

    def count_unknown(self):
        """Of what is unknown, how much did run: either may be."""
        with self.lock:
            ran = Counter(key_of(one["arguments"]) for one in self.executions())
            for key, approvals in self.by_key.items():
                if [one.state for one in approvals if one.state in USED] == ["unknown"]:
                    self.tally["unknown and executed" if ran[key] else "unknown and not executed"] += 1

    def check_like(self, run, likes, views):
        mark = run["arguments"]["mark"]
        errand = self.errand_of(mark)
        parent = next((one for one in self.by_key[errand.key] if one.yes_in is not None and one.verdict == "allow"), None)
        if parent is None or run["generation"] < parent.yes_in:
            self.fault(f"{run['done']} ran, and nobody had allowed such calls", errand.key)
        if likes[mark] > errand.uses:
            self.fault(f"{likes[mark]} calls ran where {errand.uses} were allowed", errand.key)
        if views is not None and run["generation"] < self.gateway.generation and likes[mark] > parent.uses:
            self.fault(f"{likes[mark]} calls ran, and the store has counted {parent.uses}", errand.key)

    def check_against_store(self, by_key):
        """Right after a start: what ran is used, and what succeeded ran."""
        for key, approvals in self.by_key.items():
            used = sum(one.state in USED for one in approvals)
            succeeded = sum(one.state == "succeeded" for one in approvals)
            if not succeeded <= len(by_key[key]) <= used:
                self.fault(f"executed {len(by_key[key])} times, {succeeded} succeeded, {used} used by the store", key)
