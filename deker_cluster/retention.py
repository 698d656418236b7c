"""How long old generations of arrays stay readable, and how many changes are told of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Self

import attrs

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.registry.models import KeptChanges

__all__ = ["Retention", "checked_retention"]

_MOST_GENERATIONS: Final = 1000
_MOST_CHANGES: Final = 10_000_000
_MILLISECOND: Final = timedelta(milliseconds=1)


def _count(most: int) -> Any:
    def check(_: object, attribute: attrs.Attribute[int], value: object) -> None:
        number = plain_int(value)
        if number is None or not 1 <= number <= most:
            raise DekerValidationError(
                f"Retention.{attribute.name} must be an int from 1 to {most:,}, not {shown(value)}"
            )

    return check


def _check_age(_: object, __: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, timedelta) or value < _MILLISECOND:
        raise DekerValidationError(
            f"Retention.age must be a timedelta of at least a millisecond, or None for no limit, "
            f"not {shown(value)}"
        )


@attrs.frozen
class Retention:
    """What a collection keeps of its arrays' past.

    A generation stays readable as long as it is one of the last :attr:`generations` and was
    replaced less than :attr:`age` ago; the present one always is. A snapshot keeps its generation
    longer. Kept generations take room on disk: every tile that was replaced stays there.
    """

    generations: int = attrs.field(default=5, validator=_count(_MOST_GENERATIONS))
    """How many generations of each array, the present one included; 1 keeps no past."""
    age: timedelta | None = attrs.field(default=timedelta(hours=1), validator=_check_age)
    """How long after it was replaced; None: no limit."""
    changes: int = attrs.field(default=10_000, validator=_count(_MOST_CHANGES))
    """How many commits of the whole collection ``collection.changes()`` can still tell of."""

    @classmethod
    def of(cls, kept: KeptChanges) -> Self:
        """Return what the registry has stored."""
        age = None if kept.age_s is None else timedelta(seconds=kept.age_s)
        return cls(kept.generations, age, kept.changes)

    @property
    def kept(self) -> KeptChanges:
        """What the registry stores."""
        age_s = None if self.age is None else self.age.total_seconds()
        return KeptChanges(self.generations, age_s, self.changes)


def checked_retention(retention: object) -> Retention:
    """Return the retention that a user gave.

    Raises
    ------
    DekerValidationError
        It is none.
    """
    if not isinstance(retention, Retention):
        raise DekerValidationError(
            f"a collection keeps its past by a Retention, not by {shown(retention)}"
        )
    return retention
