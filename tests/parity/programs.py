"""What a program is. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Program", "Step"]


@attrs.frozen
class Step:
    """One expression that both sides evaluate.

    Parameters
    ----------
    text
        The expression.
    target
        The name that its value gets.
    kind
        What it tries: "subset", "read", "update" ... ; intended differences refer to it.
    facts
        What the generator knows about it and intended differences ask for: the key "about" says
        what is peculiar about the step.
    witness
        The same wish in words that Deker understands without a quirk. Deker evaluates it when the
        step has raised, and both sides are in the same state afterwards.
    always
        The witness is evaluated in any case; it must change nothing then.
    """

    text: str
    target: str | None = None
    kind: str = "plain"
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    witness: str | None = None
    always: bool = False

    @property
    def as_dict(self) -> dict[str, Any]:
        """What the interpreter needs."""
        return {
            "text": self.text,
            "target": self.target,
            "witness": self.witness,
            "always": self.always,
        }

    def __str__(self) -> str:
        return self.text if self.target is None else f"{self.target} = {self.text}"


@attrs.frozen
class Program:
    """Steps that run one after the other, with names of their own."""

    name: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join([f"# {self.name}", *map(str, self.steps)])
