"""What a demo ends with: lines, outcomes, the proof, and whether all of it agrees."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devstack.demo.closing import HEADINGS, Line, rendered, totals


@dataclass(frozen=True, slots=True)
class Outcome:
    """One sentence that must be true at the end, with both figures."""

    what: str
    truth: object
    found: object

    @property
    def agrees(self) -> bool:
        """Whether it is."""
        return self.truth == self.found

    def as_row(self) -> dict[str, object]:
        """A row of the second table."""
        return {"what": self.what, "truth": self.truth, "found": self.found, "agrees": self.agrees}


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything that is printed, and what it comes to."""

    lines: Sequence[Line]
    outcomes: Sequence[Outcome]
    proof: str
    proved: bool

    @property
    def agrees(self) -> bool:
        """True only if every line, every outcome and the proof do, and there is something to agree on."""
        return bool(self.lines) and self.proved and all(line.agrees for line in self.lines) and all(row.agrees for row in self.outcomes)

    def text(self) -> str:
        """All tables."""
        every = [*self.lines, *totals(self.lines)]
        return "\n\n".join(
            (
                "Per customer and meter, and in total (in the meter's unit):\n" + rendered([line.as_row() for line in every], HEADINGS),
                "How every delivery ended:\n" + rendered([row.as_row() for row in self.outcomes], ("what", "truth", "found", "agrees")),
                "trueup prove:\n" + self.proof.rstrip(),
            )
        )

    def write(self, path: Path) -> None:
        """The same as JSON."""
        rows: Mapping[str, object] = {
            "lines": [line.as_row() for line in self.lines],
            "totals": [line.as_row() for line in totals(self.lines)],
            "outcomes": [row.as_row() for row in self.outcomes],
            "proved": self.proved,
            "agrees": self.agrees,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows, indent=1, default=str), encoding="utf-8")


def prove_table(text: str) -> str:
    """The proof's tab-separated rows, aligned."""
    rows = [line.split("\t") for line in text.splitlines()]
    if not rows:
        return "(no rows)"
    headings = rows[0]
    return rendered([dict(zip(headings, row, strict=False)) for row in rows[1:]], headings)
