"""Numbers per dimension, as users give them: by name, in order, or one for all. Pure (no I/O)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerValidationError

__all__ = ["NamedShape", "PerDimension", "at_least", "numbers", "sizes", "whole"]

NamedShape: TypeAlias = tuple[tuple[str, int], ...]
PerDimension: TypeAlias = Mapping[str, int] | Sequence[int] | int


def sizes(what: str, given: object, named_shape: NamedShape) -> tuple[int, ...]:
    """Return the cells of a sample per dimension; those that are not named are taken whole.

    Raises
    ------
    DekerValidationError
        They are no whole numbers from 1 to the size of the dimension, or it has no such dimension.
    """
    if isinstance(given, int):
        raise DekerValidationError(
            f"{what} must name the dimensions, such as {{{named_shape[-1][0]!r}: {given}}}, or "
            f"give a number for each of {_names(named_shape)}; it is {shown(given)}"
        )
    found = numbers(what, given, named_shape, dict(named_shape))
    for cells, (name, there) in zip(found, named_shape, strict=True):
        at_least(what, name, cells, 1)
        if cells > there:
            raise DekerValidationError(
                f"{what}: {cells} cells along {name!r}, but the array has {there}; take at most "
                "that many"
            )
    return found


def numbers(
    what: str, given: object, named_shape: NamedShape, default: Mapping[str, int]
) -> tuple[int, ...]:
    """Return a whole number for each dimension.

    Parameters
    ----------
    given
        By name, or one for each dimension, or one for all dimensions of `default`.
    default
        For dimensions that are not named.

    Raises
    ------
    DekerValidationError
        An unknown name, too many or too few numbers, or something that is no whole number.
    """
    names = [name for name, _ in named_shape]
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise DekerValidationError(
                f"{what}: the array has no dimension {shown(unknown[0])}, only "
                f"{_names(named_shape)}"
            )
        chosen = [given.get(name, default[name]) for name in names]
    elif isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        if len(given) != len(names):
            raise DekerValidationError(
                f"{what}: {len(given)} numbers for the {len(names)} dimensions "
                f"{_names(named_shape)}"
            )
        chosen = list(given)
    else:
        chosen = [given] * len(names)
    found = [plain_int(value) for value in chosen]
    if any(value is None for value in found):
        raise DekerValidationError(f"{what} must be whole numbers, not {shown(given)}")
    return tuple(value for value in found if value is not None)


def at_least(what: str, name: str, value: int, least: int) -> None:
    """Refuse a number that is too small.

    Raises
    ------
    DekerValidationError
        It is less than `least`.
    """
    if value < least:
        raise DekerValidationError(f"{what} along {name!r} must be at least {least}, not {value}")


def _names(named_shape: NamedShape) -> str:
    return ", ".join(repr(name) for name, _ in named_shape)


def whole(what: str, value: object, least: int) -> int:
    """Return a whole number.

    Raises
    ------
    DekerValidationError
        It is none, or less than `least`.
    """
    found = plain_int(value)
    if found is None or found < least:
        raise DekerValidationError(
            f"{what} must be a whole number from {least}, not {shown(value)}"
        )
    return found
