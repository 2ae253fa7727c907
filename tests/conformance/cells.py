"""Every scenario of the conformance suite in every cell: against the fixtures' server itself, and through the gateway with a downstream of
both eras or of one, over HTTP and over standard input and output. Prints a line for each cell and for each scenario that it misses.

`expected.json` is a ratchet. Of each cell it holds what `passes` and must go on to, what it `misses`, in the words of the suite, and what it
`cannot` pass, with the reason. What passes beyond that is told, and `--raise` rewrites the file, all but what it says of `cannot`: that is
written by hand."""

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass

import suite
from stand import HERE, Direct, Through, kit
from suite import LEGACY, MODERN

EXPECTED = HERE / "expected.json"
RESULTS = kit.ROOT / "target" / "conformance"
# The suite gives some answers half a second. What should pass and did not is tried again by itself.
TRIES = 3


@dataclass(frozen=True)
class Cell:
    """What is downstream, what the suite speaks, and what carries it."""

    downstream: str
    era: str
    transport: str = "http"
    extension: str = ""

    def __str__(self):
        extension = f" extension={self.extension}" if self.extension else ""
        return f"cell={self.downstream} era={self.era} transport={self.transport}{extension}"

    def scenarios(self):
        if self.extension:
            return suite.TASKS
        every = suite.scenarios(self.era)
        return every if self.transport == "http" else [name for name in every if name not in suite.HTTP_ONLY]


CELLS = [
    *[Cell("direct", era, transport) for transport in ("http", "stdio") for era in (LEGACY, MODERN)],
    Cell("direct", MODERN, extension="tasks"),
    *[Cell(downstream, era, transport) for transport in ("http", "stdio") for downstream in ("dual", "legacy", "modern") for era in (LEGACY, MODERN)],
    Cell("dual", MODERN, extension="tasks"),
]


def main():
    asked = arguments()
    program = kit.binary(asked.binary)
    expected = json.loads(EXPECTED.read_text())
    failed = 0
    for cell in CELLS:
        if asked.only in str(cell):
            held = expected.get(str(cell), {})
            passes, cannot = set(held.get("passes", [])), held.get("cannot", {})
            outcomes = run(cell, program, passes)
            failed += tell(cell, outcomes, passes, cannot)
            expected[str(cell)] = raised(outcomes, cannot)
    if asked.raise_:
        EXPECTED.write_text(json.dumps(expected, indent=2, ensure_ascii=False) + "\n")
    print(f"--- conformance: {f'FAILED: {failed} that passed do not' if failed else 'ok'}", flush=True)
    return 1 if failed else 0


def arguments():
    parser = argparse.ArgumentParser(prog="tests/conformance/run", description="The official MCP conformance suite through the gateway.")
    parser.add_argument("binary", nargs="?", help="the gateway; target/release/bailiwick, else target/debug/bailiwick, when it is not given")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cells with this in their line, such as `cell=dual` or `transport=stdio`")
    parser.add_argument("--raise", dest="raise_", action="store_true", help="rewrite expected.json to what is seen now")
    return parser.parse_args()


def run(cell, program, passes):
    """What became of each scenario in a cell that stands only for this."""
    log = RESULTS / str(cell).replace(" ", ",")
    shutil.rmtree(log, ignore_errors=True)
    log.mkdir(parents=True)
    with Direct(cell.transport, log) if cell.downstream == "direct" else Through(program, cell.downstream, cell.transport, log) as stand:
        outcomes = suite.run(stand.url, cell.era, cell.scenarios(), log / "checks", together=not cell.extension)
        for name in passes & outcomes.keys():
            for attempt in range(1, TRIES):
                if outcomes[name].passed:
                    break
                outcomes[name] = suite.again(stand.url, cell.era, name, log / f"again-{attempt}")
    return outcomes


def tell(cell, outcomes, passes, cannot):
    """Prints what a cell is worth, and returns how many that passed do not pass any more."""
    passing = {name for name, outcome in outcomes.items() if outcome.passed}
    print(f"{cell} passed={len(passing)} total={len(outcomes)}", flush=True)
    for name, outcome in outcomes.items():
        if name in passes and not outcome.passed:
            print(f"    FAILED {name}: {outcome.why}")
        elif name in cannot:
            print(f"    cannot {name}: {cannot[name]}{' (but did: without being tried, or the reason is gone)' if outcome.passed else ''}")
        elif not outcome.passed:
            print(f"    missed {name}: {outcome.why}")
        elif outcome.skipped:
            print(f"    skips  {name}: {', '.join(outcome.skipped)}")
    for name in sorted(passing - passes - cannot.keys()):
        print(f"    NEW    {name} passes now: `--raise` holds it")
    for name in sorted(passes - outcomes.keys()):
        print(f"    FAILED {name}: the suite has it no more")
    # Nothing may be missed by the fixtures themselves: else they prove nothing.
    unproven = outcomes.keys() - passing - passes if cell.downstream == "direct" else set()
    return len(passes - passing) + len(unproven)


def raised(outcomes, cannot):
    """What to expect from now on: what passes, and in the suite's words why the rest does not."""
    can = {name: outcome for name, outcome in sorted(outcomes.items()) if name not in cannot}
    return {
        "passes": [name for name, outcome in can.items() if outcome.passed],
        "misses": {name: outcome.why[:120] for name, outcome in can.items() if not outcome.passed},
        **({"cannot": cannot} if cannot else {}),
    }


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"--- {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(code)
