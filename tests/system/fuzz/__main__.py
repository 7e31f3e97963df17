"""Random statements over random tables, compared with DuckDB, with twins that allow no pruning, and by NoREC and TLP.

Each seed has tables and statements of its own. A difference that no line of known.jsonl explains is printed with the command
that repeats it alone, and the exit code is 1.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from fuzz import known
from fuzz.run import CLIENTS, Size, fuzz, only


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz-sql", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, action="append", help="repeatable; 1, 2 and 3 unless given")
    parser.add_argument("--statements", type=int, default=1000, help="of each seed, by each client; 1000 unless given")
    parser.add_argument("--predicates", type=int, default=100, help="likewise, each in 12 forms; 100 unless given")
    parser.add_argument("--runs", type=int, default=20, help="statements of each seed that are query files; 20 unless given")
    parser.add_argument("--client", choices=CLIENTS, action="append", help="repeatable; shell and flight unless given")
    parser.add_argument("--only", action="store_true", help="print the answers to the one statement on standard input")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave the tables there")
    given = parser.parse_args()
    binary = os.environ.get("ISOBAR_BIN")
    if not binary:
        parser.error("ISOBAR_BIN names no binary: run `make fuzz-sql`")
    size = Size(given.statements, given.predicates, given.runs, tuple(given.client or ["shell", "flight"]))
    with tempfile.TemporaryDirectory(prefix="isobar-fuzz-") as directory:
        return compare(binary, given.keep or Path(directory), given.seed or [1, 2, 3], size, sys.stdin.read() if given.only else None)


def compare(binary: str, directory: Path, seeds: list[int], size: Size, statement: str | None) -> int:
    outcome, list_of_known = 0, known.lines()
    for seed in seeds:
        started = time.monotonic()
        if statement:
            print(only(binary, directory / str(seed), seed, statement))
            continue
        findings = fuzz(binary, directory / str(seed), seed, size, list_of_known)
        print(findings.report(seed), f"{time.monotonic() - started:.0f} s", flush=True)
        outcome |= bool(findings.unexplained)
    unused = [line.pattern for line in list_of_known if not line.used]
    if unused and size.statements >= known.WHOLE_RUN and not statement:
        print(f"lines of known.jsonl that explain nothing, and must go: {unused}")
        outcome = 1
    return outcome


sys.exit(main())
