"""What intended differences have in common."""

from __future__ import annotations

from collections.abc import Callable

from tests.parity.comparing import Difference

__all__ = ["Rule", "either", "mistaken", "other_error", "refused", "understood", "values"]

Rule = Callable[[Difference], bool]


def understood(kind: str, *about: str, error: str = "IndexError") -> Rule:
    """Deker refuses what was tried; here it is what Deker gives for the witness."""

    def applies(difference: Difference) -> bool:
        return (
            difference.step.kind == kind
            and difference.about(*about)
            and difference.deker_error == error
            and difference.as_witness
        )

    return applies


def mistaken(kind: str, *about: str) -> Rule:
    """Deker takes it for something else, or fails; here it is as the witness is."""

    def applies(difference: Difference) -> bool:
        return (
            difference.step.kind == kind
            and difference.about(*about)
            and difference.deker_error in (None, "IndexError")
            and difference.as_witness
        )

    return applies


def refused(kind: str, *about: str | None, error: str = "DekerIndexError") -> Rule:
    """Deker takes it; here it is an error."""

    def applies(difference: Difference) -> bool:
        return (
            difference.step.kind == kind
            and difference.about(*about)
            and difference.deker_error is None
            and difference.our_errors[:1] == (error,)
        )

    return applies


def other_error(kind: str, deker: str, here: str, *about: str | None) -> Rule:
    """Both refuse, with classes that have nothing in common."""

    def applies(difference: Difference) -> bool:
        return (
            difference.step.kind == kind
            and difference.about(*about)
            and difference.deker_error == deker
            and difference.our_errors[:1] == (here,)
        )

    return applies


def values(kind: str, deker: object, here: object, *about: str | None) -> Rule:
    """Tell just what each side gives: an encoded value, or the name of an error's class."""

    def applies(difference: Difference) -> bool:
        return (
            difference.step.kind == kind
            and difference.about(*about)
            and (difference.deker_error or difference.deker_value) == deker
            and (difference.our_errors[0] if difference.our_errors else difference.our_value)
            == here
        )

    return applies


def either(*rules: Rule) -> Rule:
    """One of the rules holds."""
    return lambda difference: any(rule(difference) for rule in rules)
