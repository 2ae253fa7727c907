"""What agents want, and how each goes about it, as far as it gets before the gateway is killed."""

from book import key_of
from wire import MODERN, OLDER

KINDS = {"plain": 30, "slow": 20, "deny": 12, "race": 10, "allow": 12, "broker": 10, "lost": 6}
# A grant of so many calls, and so many questions under it.
BUDGET, UNDER_BUDGET = 2, 4


class Errand:
    """One exact call that somebody has to approve, and the way it is to go."""

    def __init__(self, house, number, kind, token=None):
        rng = house.rng
        self.house, self.book, self.kind, self.rng, self.token = house, house.book, kind, rng, token
        self.mark = f"{kind}-{number}"
        self.agent = "quick" if kind in ("race", "broker", "lost", "budget") else rng.choice(["quick", "held"])
        self.era = MODERN if kind == "lost" else rng.choice([MODERN, OLDER])
        self.tool = {"broker": "safe__act", "allow": "work__like"}.get(kind, "work__act")
        # Some wait for a round or two, undecided or approved.
        later = [0, 0, 0, 1, 2] if kind != "budget" else [0]
        self.decide_at = house.round + rng.choice(later)
        self.run_at = self.decide_at + (rng.choice(later) if self.agent == "quick" else 0)
        self.uses = rng.randrange(1, 5)
        self.arguments = {"mark": self.mark, "n": 0, "before": 0, "after": 0, "size": 0}
        if kind in ("slow", "race", "allow"):
            self.arguments["before"], self.arguments["after"] = rng.choice([0, 30, 120]), rng.choice([0, 30, 120])
        if kind == "lost":
            self.arguments["size"] = 700_000
        self.key = key_of(self.arguments)
        # In which life it was told to wait, and that the budget is spent.
        self.told_in, self.spent_in = None, None
        self.is_done, self.wants_replay, self.extra = False, rng.random() < 0.3, 0

    def verdict(self, one, round_now):
        """What a person says to this question, if anything yet: the first as planned, and to what comes after it mostly no."""
        if round_now < self.decide_at:
            return None
        if one.verdict is None:
            first = one.key == self.key and self.book.by_key[self.key][0] is one
            if not first:
                again = one.key == self.key and self.kind in ("plain", "slow") and self.rng.random() < 0.3
                one.verdict = "approve" if again else "deny"
            else:
                one.verdict = {"deny": "deny", "allow": "allow"}.get(self.kind, "approve")
        return one.verdict

    def latest(self):
        """The question about exactly this call that was asked last."""
        asked = self.book.by_key[self.key]
        return asked[-1] if asked else None

    # The way.

    def go(self):
        """As far as it gets."""
        while not self.house.is_over() and not self.is_done:
            if not self.step():
                return

    def step(self):
        """One thing; says whether there is more to do now."""
        house, one = self.house, self.latest()
        state = one.state if one else None
        if state in ("unknown", "succeeded") or (one and one.has_run):
            return self.after_use(one)
        if state == "invalidated":
            self.is_done = True
            return False
        if state == "pending" and self.told_in == house.gateway.generation:
            return house.wait_for(lambda: one.state != "pending" or one.is_revoked) and one.state != "pending"
        if state == "approved":
            if house.round < self.run_at:
                return False
            if self.kind == "lost":
                return self.go_away(one)
            if self.kind == "race":
                return self.race()
            if self.kind == "budget" and self.spent_in == house.gateway.generation:
                return False
        return self.ask_once(self.arguments)

    def ask_once(self, arguments):
        """The call, and what its answer says."""
        key = key_of(arguments)
        with self.book.lock:
            before = [one for one in self.book.by_key[key] if one.state in ("pending", "approved") and not one.has_run]
        was_empty = self.house.is_locker_empty
        answer = self.house.call(self, arguments)
        result = answer.get("result", {})
        text = (result.get("content") or [{}])[0].get("text", "")
        asked = result.get("_meta", {}).get("dev.bailiwick/approval")
        if asked and asked.get("state") == "pending":
            return self.is_pending(asked, key, before)
        if "result" in answer and not result.get("isError"):
            return self.is_answered(text, key, was_empty)
        if text.startswith("UNAVAILABLE") and "no credential" in text and was_empty:
            return self.is_without_credential(before)
        if "budget" in text and self.kind == "budget":
            return self.is_over_budget(before)
        if any(one.no_in is not None for one in self.book.by_key[key]) and text.startswith("DENIED"):
            self.house.book.tally["refused after a no"] += 1
            self.is_done = True
            return False
        if "kept changing" in text:
            self.book.tally["unsettled"] += 1
            return True
        if any(one.is_revoked for one in self.book.by_key[key]):
            self.is_done = True
            return False
        self.book.fault(f"an answer that was not due: {str(answer)[:600]}", key)
        return False

    def is_pending(self, asked, key, before):
        one = self.book.told(asked, key)
        self.told_in = self.house.gateway.generation
        unused = [other for other in before if other is not one and not other.has_run and other.no_in is None]
        if unused and self.kind not in ("race", "allow"):
            self.book.fault(f"{one.id} is asked although {unused[0].id} was {unused[0].state} and not used", key)
        return True

    def is_answered(self, text, key, was_empty):
        if self.kind == "broker" and was_empty and self.house.is_locker_empty:
            self.book.fault(f"{text[:60]} ran without its credential", key)
        done = text.split(" ")[0]
        if not any(one["done"] == done for one in self.book.executions()):
            self.book.fault(f"{done} was answered, and not executed", key)
        self.book.ran(key, done)
        return True

    def is_without_credential(self, before):
        self.book.tally["failed without credential"] += 1
        self.is_still_approved(before)
        self.house.wait_for(lambda: not self.house.is_locker_empty)
        return True

    def is_over_budget(self, before):
        self.spent_in = self.house.gateway.generation
        self.book.tally["refused by budget"] += 1
        self.is_still_approved(before)
        return False

    def is_still_approved(self, before):
        """What failed before the record took nothing."""
        for one in before:
            if one.state == "approved":
                shown = self.house.gateway.show(one.id)
                if shown is None or shown["state"] != "approved":
                    self.book.fault(f"a call that was not sent burned {one.id}: it is {shown and shown['state']}", one)

    def after_use(self, one):
        """Its one use is taken. The identical call is another question, or it is over."""
        if self.kind == "allow":
            return self.like()
        if self.wants_replay and one.state != "invalidated":
            self.wants_replay = False
            return self.ask_once(self.arguments)
        self.is_done = True
        return False

    # Particular ways.

    def race(self):
        """Two identical calls at once: one runs, the other asks anew."""
        second = self.house.thread(self.ask_once, self.arguments)
        try:
            self.ask_once(self.arguments)
        finally:
            second.join()
        ran = [one for one in self.book.executions() if one["arguments"]["mark"] == self.mark]
        if len(ran) > 1:
            self.book.check_executions()
        return True

    def like(self):
        """Calls of its like, side by side and more than are allowed."""
        if self.extra > 2 * self.uses + 4 or self.has_exceeded():
            self.is_done = True
            return False
        wanted = []
        for _ in range(3):
            self.extra += 1
            wanted.append({**self.arguments, "n": self.extra})
        threads = [self.house.thread(self.ask_like, arguments) for arguments in wanted]
        for thread in threads:
            thread.join()
        return True

    def has_exceeded(self):
        """Whether a person was asked for one of its like."""
        with self.book.lock:
            return any(one.errand is self and one.key != self.key for one in self.book.by_id.values())

    def ask_like(self, arguments):
        answer = self.house.call(self, arguments)
        result = answer.get("result", {})
        asked = result.get("_meta", {}).get("dev.bailiwick/approval")
        if asked and asked.get("state") == "pending":
            self.book.told(asked, key_of(arguments))
            self.is_used_up()
            self.book.tally["asked beyond an allowance"] += 1
        elif "result" in answer and not result.get("isError"):
            self.book.tally["ran under an allowance"] += 1
        elif result["content"][0]["text"].startswith("DENIED"):
            # It was held meanwhile, and somebody said no.
            self.is_used_up()
        else:
            self.book.fault(f"an answer that was not due: {str(answer)[:600]}", self.key)
        self.book.check_executions()

    def is_used_up(self):
        """A person is asked for one of its like only where all that was allowed is used."""
        parent = next(one for one in self.book.by_key[self.key] if one.verdict == "allow")
        shown = self.house.gateway.show(parent.id)
        used = len(((shown or {}).get("allowance") or {}).get("uses", []))
        if used < self.uses:
            self.book.fault(f"a person is asked, and of {self.uses} calls that were allowed {used} are used", parent)

    def go_away(self, one):
        """Goes away when the answer begins to come. The identical call hears the same, and nothing runs anew."""
        with self.house.one_unread:
            told = self.house.gateway.said().count("kept for the identical call")
            self.book.calling(self.key)
            agent = self.house.agent(self)
            if not agent.call_unread(self.tool, self.arguments):
                self.book.fault("an answer that begins with no 200", one)
            is_kept = lambda: self.house.gateway.said().count("kept for the identical call") > told  # noqa: E731
            if not self.house.wait_for(is_kept, "an answer that nobody read is kept"):
                return False
        ran = [run for run in self.book.executions() if run["arguments"]["mark"] == self.mark]
        answer = self.house.call(self, self.arguments)
        text = (answer.get("result", {}).get("content") or [{}])[0].get("text", "")
        if len(ran) != 1 or text.split(" ")[0] != ran[0]["done"] or len(text) < self.arguments["size"]:
            self.book.fault(f"the identical call was answered {str(answer)[:300]}, and not with what nobody had read", one)
        self.book.ran(self.key, ran[0]["done"])
        self.book.tally["answered by the kept outcome"] += 1
        return True


class Budgeted:
    """A grant of few calls, and more approvals under it than it can pay."""

    def __init__(self, house, number):
        self.house, self.id, self.until = house, f"budget-{number}", house.round + 6
        made = house.gateway.post(
            "grants",
            {
                "id": self.id, "agent": "quick", "purpose": "spend little", "tools": ["work__act"],
                "ttl_ms": 8 * 3600 * 1000, "budget": {"calls": BUDGET},
            },
        )
        self.errands = [Errand(house, f"{number}-{at}", "budget", made["token"]) for at in range(UNDER_BUDGET)]

    def approvals(self):
        return [one for errand in self.errands for one in self.house.book.by_key[errand.key]]

    def close(self):
        """It is over: what it could not pay was not burned, and goes with the grant."""
        book, ours = self.house.book, self.approvals()
        with book.lock:
            ran = [run for run in book.executions() if run["arguments"]["mark"].startswith(self.id + "-")]
            paid = [grant for _, grant in book.intents() if grant == self.id]
        if len(ran) > BUDGET or len(paid) > BUDGET:
            book.fault(f"{self.id}: {len(ran)} ran and {len(paid)} are on record, of a budget of {BUDGET}", self.errands[0].key)
        for one in ours:
            one.is_revoked = True
        self.house.gateway.post(f"grants/{self.id}/revoke", {"reason": "over"})
        for one in ours:
            if one.state in ("pending", "approved") and not one.has_run:
                shown = self.house.gateway.show(one.id)
                if shown is None or shown["state"] != "invalidated":
                    book.fault(f"the grant is revoked, and {one.id} is {shown and shown['state']}", one)
                one.state = "invalidated"
        for errand in self.errands:
            errand.is_done = True

