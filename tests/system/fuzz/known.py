"""The list of known differences, `known.jsonl`. It only gets shorter.

A line has `pattern`, which a statement and its difference must match, found in `STATEMENT\\n=> DIFFERENCE`; `reference`, the
report upstream, or the page that promises the refusal; `statement`, which shows it on no table at all; and `right`, the rows of
its right answer as JSON. A line whose own statement is answered rightly, or that explains nothing in a whole run, must go.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

FILE = Path(__file__).with_name("known.jsonl")
# In a run with at least this many statements of each seed, a line that explains no difference is an error.
WHOLE_RUN = 1000


@dataclass
class Line:
    pattern: str
    reference: str
    statement: str
    right: list[list]
    used: int = field(default=0, compare=False)

    def explains(self, statement: str, difference: str) -> bool:
        return re.search(self.pattern, f"{statement}\n=> {difference}", re.DOTALL) is not None


def lines() -> list[Line]:
    return [Line(**json.loads(line)) for line in FILE.read_text().splitlines() if line.strip()]
