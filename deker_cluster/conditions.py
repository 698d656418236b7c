"""What a filter asks of one attribute, as ranges of encoded values. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.attribute_index import KeyRange, encode_key, first_key, last_key
from deker_cluster.attributes import checked_value
from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import (
    DekerFilterError,
    DekerIncompleteFilterError,
    DekerValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deker_cluster.attributes import AttributeSchema

__all__ = ["MAX_ALTERNATIVES", "alternatives", "condition_ranges", "is_value"]

MAX_ALTERNATIVES = 10_000
"""Values of one condition: the server looks for each of them while others wait."""


def condition_ranges(schema: AttributeSchema, condition: object) -> tuple[KeyRange, ...]:
    """Return the ranges of encoded values that a condition accepts, ascending.

    Parameters
    ----------
    condition
        A value; None for arrays without one; ``slice(start, stop)`` for ``start <= value < stop``,
        where None is an open end; a list or set for any of its values. An attribute of type tuple
        takes a list as one value, and a set of tuples for any of them. Ranges hold neither None
        nor NaN.

    Raises
    ------
    DekerValidationError
        A value that the attribute cannot have.
    DekerIncompleteFilterError
        None, for a primary attribute: no array is without.
    DekerFilterError
        A slice with a step, or too many values.
    """
    if isinstance(condition, slice):
        return _between(schema, condition)
    if is_value(schema, condition):
        return (KeyRange.of(_key(schema, condition)),)
    choices = alternatives(f"attribute {schema.name!r}", condition) or ()
    return tuple(KeyRange.of(key) for key in sorted({_key(schema, value) for value in choices}))


def is_value(schema: AttributeSchema, condition: object) -> bool:
    """Whether a condition is one value, rather than a range or several of them."""
    several: tuple[type, ...] = (slice, set, frozenset)
    return not isinstance(condition, several if schema.dtype is tuple else (*several, list))


def alternatives(what: str, condition: object) -> Iterable[Any] | None:
    """Return the values of which a condition accepts any; None if it is no list or set.

    Raises
    ------
    DekerFilterError
        There are more than :data:`MAX_ALTERNATIVES`.
    """
    if not isinstance(condition, (list, set, frozenset)):
        return None
    if len(condition) > MAX_ALTERNATIVES:
        raise DekerFilterError(
            f"a filter takes up to {MAX_ALTERNATIVES:,} values of {what}, not {len(condition):,}; "
            "split them, or use a slice"
        )
    return condition


def _key(schema: AttributeSchema, value: object) -> bytes:
    if value is None and schema.primary:
        raise DekerIncompleteFilterError(
            f"a filter needs a value for the primary attribute {schema.name!r}; leave the name out "
            "to find all arrays"
        )
    return encode_key(checked_value(schema, value, needed=False))


def _between(schema: AttributeSchema, bounds: slice) -> tuple[KeyRange, ...]:
    if bounds.step is not None:
        raise DekerFilterError(
            f"attribute {schema.name!r}: a range has no step, got {shown(bounds)}"
        )
    start = first_key(schema.dtype, _bound(schema, bounds.start))
    stop = last_key(schema.dtype, _bound(schema, bounds.stop))
    return (KeyRange(start, stop),) if start < stop else ()


def _bound(schema: AttributeSchema, value: Any) -> Any:
    """Return a bound as :func:`.first_key` takes it: numbers need not be of the type."""
    if value is None or not issubclass(schema.dtype, (int, float, complex, np.number)):
        return checked_value(schema, value, needed=False)
    whole = plain_int(value)
    if whole is not None:
        return whole
    kinds: tuple[type, ...] = (float, np.floating)
    if issubclass(schema.dtype, (complex, np.complexfloating)):
        kinds += (complex, np.complexfloating)
    if not isinstance(value, kinds) or value != value:  # NaN
        raise DekerValidationError(
            f"attribute {schema.name!r}: {shown(value)} ({type(value).__name__}) cannot be the "
            "bound of a range of numbers"
        )
    return value
