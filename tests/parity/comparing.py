"""Compare the outcomes of both sides. Pure (no I/O)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.parity.programs import Program, Step

__all__ = ["Difference", "Intended", "Tally", "compare"]

Outcome = dict[str, Any]


@attrs.frozen
class Difference:
    """A step at which the two sides do not agree."""

    program: Program
    step: Step
    deker: Outcome
    here: Outcome

    @property
    def deker_error(self) -> str | None:
        """Name of the class that Deker raised, None if it gave a value."""
        return self.deker["error"][0] if "error" in self.deker else None

    @property
    def our_errors(self) -> tuple[str, ...]:
        """Names of the class that was raised here and of all its bases."""
        return tuple(self.here.get("error", ()))

    @property
    def deker_value(self) -> Any:
        """What Deker gave, encoded."""
        return self.deker.get("value")

    @property
    def our_value(self) -> Any:
        """What was given here, encoded."""
        return self.here.get("value")

    @property
    def as_witness(self) -> bool:
        """Whether the value here is what Deker gives for the witness."""
        witness = self.deker.get("witness", {})
        return "value" in witness and witness["value"] == self.here.get("value")

    def about(self, *what: str | None) -> bool:
        """Whether the step was made to try one of these; a plain step is about None."""
        return self.step.facts.get("about") in (what or (None,))

    def __str__(self) -> str:
        lines = [f"step:  {self.step}", f"about: {self.step.kind} {self.step.facts.get('about')}"]
        lines += [f"Deker: {_shown(self.deker)}", f"here:  {_shown(self.here)}"]
        if "witness" in self.deker:
            lines.append(f"witness {self.step.witness}: {_shown(self.deker['witness'])}")
        return "\n".join(lines)


@attrs.frozen(kw_only=True)
class Intended:
    """A difference that is meant.

    Parameters
    ----------
    id
        Short name.
    title, deker, here, why
        What it is about, what Deker does, what deker_cluster does, and why that is better.
    row
        Number in the list of Deker's known surprises, if it is one of them.
    applies
        Whether a difference is this one: as narrow as it can be said.
    """

    id: str
    title: str
    deker: str
    here: str
    why: str
    applies: Callable[[Difference], bool]
    row: int | None = None


@attrs.define
class Tally:
    """What a run has seen."""

    programs: int = 0
    steps: int = 0
    comparisons: int = 0
    errors: int = 0
    """Comparisons in which both sides raised."""
    used: Counter[str] = attrs.field(factory=Counter)
    unexplained: list[Difference] = attrs.field(factory=list)
    ambiguous: list[tuple[Difference, list[str]]] = attrs.field(factory=list)


def compare(
    program: Program,
    deker: Sequence[Outcome],
    here: Sequence[Outcome],
    intended: Sequence[Intended],
    tally: Tally,
) -> list[Difference]:
    """Compare every step, count in `tally`, and return the differences without an explanation."""
    tally.programs += 1
    bad: list[Difference] = []
    for step, theirs, ours in zip(program.steps, deker, here, strict=True):
        tally.steps += 1
        if "skipped" in theirs or "skipped" in ours:
            # The step that made what this one needs has failed, on both sides or by intention.
            continue
        tally.comparisons += 1
        tally.errors += "error" in theirs and "error" in ours
        if agree(theirs, ours):
            continue
        difference = Difference(program, step, theirs, ours)
        matching = [entry.id for entry in intended if entry.applies(difference)]
        if len(matching) == 1:
            tally.used[matching[0]] += 1
        elif matching:
            tally.ambiguous.append((difference, matching))
        else:
            bad.append(difference)
    tally.unexplained.extend(bad)
    return bad


def agree(deker: Outcome, here: Outcome) -> bool:
    """Whether a user of Deker notices nothing: equal values, or errors that he catches alike."""
    if "error" in deker and "error" in here:
        return deker["error"][0] in here["error"]
    return "value" in deker and "value" in here and bool(deker["value"] == here["value"])


def _shown(outcome: Outcome) -> str:
    if "error" in outcome:
        return f"{outcome['error'][0]}: {outcome['text']}"
    return str(outcome.get("value", outcome))[:600]
