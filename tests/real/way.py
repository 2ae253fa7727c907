"""The way that every client walks: it lists, calls, is refused, is held for a person in every manner, reads what else is offered,
and is asked."""

import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol

from cases import CONFIRM, CONVERT, ELDERS, GRANTED, HOLD, MOVE, NOTE, PATIENCE, PROMPTS, READ, RESOURCES, SECRET, SUM, TEMPLATES, WEATHER, WRITE, Case

UNHEARD_OF = "files__no_such_tool"


class Operator(Protocol):
    """Whoever decides."""

    async def question(self, agent: str, besides: set[str]) -> str: ...
    async def questions(self, agent: str) -> set[str]: ...
    async def approve(self, code: str) -> None: ...
    async def deny(self, code: str, reason: str) -> None: ...
    async def has_ended(self, agent: str, calls: int) -> None: ...


class Client(Protocol):
    """A client that does as it is told."""

    async def asks(self, **wish: Any) -> None: ...
    async def answer(self) -> dict[str, Any]: ...


def expect(what: str, holds: object, seen: object) -> None:
    """A step that must hold for the next to make sense."""
    if not holds:
        raise AssertionError(f"{what}; saw: {seen}")


class Way:
    """One client's way."""

    def __init__(self, case: Case, place: Path, operator: Operator, client: Client) -> None:
        self.case, self.place, self.operator, self.client = case, place, operator, client
        self.codes: set[str] = set()

    def part(self, name: str) -> Awaitable[None]:
        return getattr(self, f"part_{name}")()

    async def part_list(self) -> None:
        names = await self.names("tools")
        expect("it sees exactly what is granted", names == GRANTED, names)

    async def part_call(self) -> None:
        for tool, arguments, words in [
            (READ, {"path": f"{self.place}/desk/note.txt"}, NOTE),
            (SUM, {"a": 2, "b": 40}, "42"),
            (WEATHER, {"location": "Chicago"}, "temperature"),
            (CONVERT, {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}, "21:00"),
        ]:
            answer = await self.calls(tool, **arguments)
            expect(f"{tool} answers", answer["kind"] == "result" and words in answer["words"], answer)

    async def part_refused(self) -> None:
        paths = {"source": f"{self.place}/desk/note.txt", "destination": f"{self.place}/desk/gone.txt"}
        told = []
        for tool in [MOVE, UNHEARD_OF]:
            answer = await self.calls(tool, **paths)
            told.append((answer["kind"], answer["words"].replace(tool, "X")))
        expect("an ungranted tool is not called", told[0][0] != "result" and (self.place / "desk/note.txt").exists(), told)
        if self.case.looks_up:
            # It looks the tool up in the list first, and sends nothing for one that is not there.
            self.case.calls -= 2
        else:
            expect("an ungranted tool is answered as an absent one", told[0] == told[1], told)
            expect("the client shows that there is no such tool", "Unknown tool: X" in told[0][1], told)
        outside = await self.calls(READ, path=f"{self.place}/private/secret.txt")
        said = outside["words"]
        fits = outside["kind"] == "refusal" and "/path" in said and "grant" in said and SECRET not in said
        expect("an argument out of bounds is refused, with its place", fits, outside)
        wrong = await self.calls(READ, path=f"{self.place}/desk/note.txt", head="one")
        if self.case.judges_arguments:
            # It holds the schema against the arguments itself, and sends nothing that does not fit.
            self.case.calls -= 1
            expect("an argument of the wrong type is not called", wrong["kind"] == "refusal" and "head" in wrong["words"], wrong)
        else:
            expect("an argument of the wrong type is refused, with its place", wrong["kind"] == "refusal" and "/head" in wrong["words"], wrong)

    async def part_held(self) -> None:
        """While the call waits: approved, it is done and answered; asked once more, it is a new question; denied, it hears why."""
        file, write = self.note("now")
        await self.begins(WRITE, **write)
        first = await self.operator.question(self.case.name, self.codes)
        expect("nothing is written before the approval", not file.exists(), file)
        await self.operator.approve(first)
        answer = await self.client.answer()
        expect("approved, the held call is answered", answer["kind"] == "result", answer)
        expect("it is written", file.read_text() == write["content"], file.read_text())
        await self.is_denied(file, write)

    async def part_pending(self) -> None:
        """Nobody decides in time: the call is told to come back, and once it was approved does so, once."""
        file, write = self.note("later")
        began = time.monotonic()
        await self.begins(WRITE, **write)
        code = await self.operator.question(self.case.name, self.codes)
        answer = await self.client.answer()
        took = time.monotonic() - began
        words = answer["words"]
        told = answer["kind"] == "refusal" and all(part in words for part in ["APPROVAL PENDING", code, "Not executed", "same call"])
        expect(f"undecided, it is told to come back ({took:.0f} s)", told and took >= HOLD - 1, answer)
        self.was_told_of(code, answer)
        await self.operator.approve(code)
        expect("approving alone does nothing", not file.exists(), file)
        answer = await self.calls(WRITE, **write)
        expect("the same call again is done", answer["kind"] == "result" and file.exists(), answer)
        await self.is_denied(file, write)

    def was_told_of(self, code: str, answer: dict[str, Any]) -> None:
        """What came before the answer: progress for those who want it, and no question to the user: a person who approves is
        somebody else."""
        told = answer.get("told", [])
        if self.case.hears_progress:
            expect("it hears that the call waits", len(told) >= 2 and all("Waiting for approval" in one and code in one for one in told), told)
        else:
            expect("nothing is told that nobody wanted", not told, told)
        expect("its own user is not asked to approve", not answer.get("asked"), answer)

    async def part_patience(self) -> None:
        """The client gives up before anybody decides: the question stays, nothing is done for nobody, and the same call waits
        for the same decision and takes it up."""
        file, write = self.note("hasty")
        await self.begins(WRITE, patience=PATIENCE, **write)
        code = await self.operator.question(self.case.name, self.codes)
        answer = await self.client.answer()
        expect("it gives up", answer["kind"] != "result" and "APPROVAL" not in answer["words"], answer)
        # Its word that it has gone is on its way, or its connection's end.
        await self.operator.has_ended(self.case.name, self.case.calls)
        open_now = await self.operator.questions(self.case.name)
        expect("the question stays, and is one", open_now == {code} and not file.exists(), (open_now, code))
        await self.operator.approve(code)
        expect("approved then, nothing is done for nobody", not file.exists(), file)
        answer = await self.calls(WRITE, **write)
        expect("the same call takes the approval up", answer["kind"] == "result" and file.read_text() == write["content"], answer)
        expect("nobody was asked again", not await self.operator.questions(self.case.name), code)

    async def part_offers(self) -> None:
        """Resources, prompts and suggestions: what is granted is there, and nothing else."""
        for what, granted in [("resources", RESOURCES), ("templates", TEMPLATES), ("prompts", PROMPTS)]:
            if self.case.can(what):
                names = await self.names(what)
                expect(f"it sees exactly the {what} that are granted", names == granted, names)
        if self.case.can("read"):
            await self.reads()
        if self.case.can("prompt"):
            answer = await self.wishes("prompt", name="everything__args-prompt", arguments={"city": "Oslo"})
            expect("a prompt is got", "weather in Oslo" in answer["words"], answer)
            answer = await self.wishes("prompt", name="asker__order", arguments={"dish": "soup"})
            expect("a prompt of the newer server is got", "Please bring soup." in answer["words"], answer)
            hidden = await self.wishes("prompt", name="asker__cancel", arguments={})
            absent = await self.wishes("prompt", name="asker__nothing", arguments={})
            same = hidden["words"].replace("asker__cancel", "X") == absent["words"].replace("asker__nothing", "X")
            expect("an ungranted prompt is answered as an absent one", same and hidden["kind"] != "result" and SECRET not in hidden["words"], (hidden, absent))
        if self.case.can("complete"):
            answer = await self.wishes("complete", of="prompt", name="everything__completable-prompt", argument="department", value="E")
            expect("an argument is completed", answer.get("names") == ["Engineering"], answer)
            answer = await self.wishes("complete", of="prompt", name="everything__resource-prompt", argument="resourceType", value="T")
            expect("nothing is suggested for what is not granted", answer["kind"] == "fault", answer)

    async def reads(self) -> None:
        for uri, words in [(RESOURCES[0], "bowl of soup"), ("asker+asker://dish/stew", "plate of stew"), (RESOURCES[1], "Everything Server")]:
            answer = await self.wishes("read", uri=uri)
            expect(f"{uri} is read", answer["kind"] == "result" and words in answer["words"], answer)
        hidden = await self.wishes("read", uri="asker+asker://menu")
        absent = await self.wishes("read", uri="asker+asker://nothing")
        same = hidden["words"].replace("asker://menu", "X") == absent["words"].replace("asker://nothing", "X")
        # Claude Code tells its model in words of its own that there is none.
        refused = hidden["kind"] != "result" or "Resource not found" in hidden["words"]
        expect("an ungranted resource is answered as an absent one", same and refused and SECRET not in hidden["words"], (hidden, absent))

    async def part_asked(self) -> None:
        """A server asks the user during a call: only those who take questions are asked, and hear who does."""
        if not self.case.takes_questions:
            answer = await self.calls(CONFIRM, what="go on")
            fits = answer["kind"] != "result" and not answer.get("asked") and "sure" not in answer["words"]
            expect("whoever takes no questions is asked none, and the call ends", fits, answer)
            return
        for tool in [CONFIRM, ELDERS]:
            for conduct, words in [("accept", "accept: {'sure': True}"), ("decline", "decline: None")]:
                answer = await self.calls(tool, what="go on", conduct=conduct)
                expect(f"{tool}, {conduct}: the answer reaches the server", answer["kind"] == "result" and words in answer["words"], answer)
                # What was asked and its answer are two calls on record.
                self.case.calls += 1
                asked, who = answer["asked"], tool.split("__")[0]
                expect(f"{tool}: the user was asked once, and told by whom", len(asked) == 1 and "Really go on?" in asked[0] and who in asked[0], asked)

    async def is_denied(self, file: Path, write: dict[str, str]) -> None:
        """What was done once is not done again without being asked."""
        file.unlink()
        await self.begins(WRITE, **write)
        code = await self.operator.question(self.case.name, self.codes)
        await self.operator.deny(code, "once is enough")
        answer = await self.client.answer()
        told = answer["kind"] == "refusal" and "once is enough" in answer["words"]
        expect("denied, it hears why", told and not file.exists(), answer)

    def note(self, when: str) -> tuple[Path, dict[str, str]]:
        file = self.place / f"desk/{self.case.name}-{when}.txt"
        return file, {"path": str(file), "content": f"{when}, by {self.case.name}\n"}

    async def wishes(self, what: str, **more: Any) -> dict[str, Any]:
        await self.client.asks(do=what, **more)
        return await self.client.answer()

    async def names(self, what: str) -> list[str]:
        answer = await self.wishes(what)
        return sorted(answer.get("names") or [str(answer)])

    async def calls(self, tool: str, conduct: str = "decline", **arguments: Any) -> dict[str, Any]:
        await self.begins(tool, conduct=conduct, **arguments)
        return await self.client.answer()

    async def begins(self, tool: str, conduct: str = "decline", patience: float | None = None, **arguments: Any) -> None:
        self.case.calls += 1
        hasty = {"patience": patience} if patience else {}
        await self.client.asks(do="call", tool=tool, arguments=arguments, conduct=conduct, **hasty)
