"""In what two states of a registry differ, as far as users can tell. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerMetaDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deker_cluster.rebuild.state import ArrayState, RegistryState

__all__ = ["Difference", "canonical", "differences"]


class Difference(NamedTuple):
    """One thing that is not the same."""

    what: str
    """``"cluster"``, ``"shards"``, ``"collection"``, ``"array"`` or ``"tile"``."""
    name: str
    """Which one."""
    problem: str
    """``"missing"``: only the first state has it; ``"extra"``: only the second; else what is
    other."""


def canonical(state: RegistryState) -> dict[str, Any]:
    """Return what users can tell of a state, as plain values: equal for equal registries."""
    return {
        "cluster": state.cluster,
        "shards": state.shards,
        "collections": state.collections,
        "arrays": {key: _plain(array) for key, array in state.alive_arrays()},
    }


def _plain(array: ArrayState) -> dict[str, Any]:
    plain = attrs.asdict(array)
    del plain["dropped"]  # not of the registry: it helps to judge files
    return plain


def differences(first: RegistryState, second: RegistryState) -> Iterator[Difference]:
    """Iterate over what differs between two states."""
    for field in ("cluster", "shards"):
        for key, problem in _compared(getattr(first, field), getattr(second, field)):
            yield Difference(field, key.decode(errors="replace"), problem)
    for key, problem in _compared(first.collections, second.collections):
        fields = first.collections.get(key) or second.collections[key]
        name = fields.get(b"name", b"").decode(errors="replace")
        yield Difference("collection", f"{name} ({key})", problem)
    ours, theirs = dict(first.alive_arrays()), dict(second.alive_arrays())
    for key, _ in _compared(ours, theirs):
        if key not in ours or key not in theirs:
            yield Difference("array", key, "missing" if key in ours else "extra")
        else:
            yield from _array_differences(key, ours[key], theirs[key])


def _compared(first: Mapping[Any, Any], second: Mapping[Any, Any]) -> Iterator[tuple[Any, str]]:
    for key in sorted(first.keys() | second.keys()):
        if key not in second:
            yield key, "missing"
        elif key not in first:
            yield key, "extra"
        elif first[key] != second[key]:
            yield key, "other"


def _array_differences(key: str, ours: ArrayState, theirs: ArrayState) -> Iterator[Difference]:
    fields = attrs.fields_dict(type(ours)).keys() - {"entries", "dropped"}
    other = sorted(name for name in fields if getattr(ours, name) != getattr(theirs, name))
    if other:
        yield Difference("array", key, f"other {', '.join(other)}")
    for ordinal, problem in _compared(ours.entries, theirs.entries):
        if problem == "other":
            old, new = _version(ours.entries[ordinal]), _version(theirs.entries[ordinal])
            yield Difference("tile", f"{key}/{ordinal}", f"version {new} instead of {old}")
        else:
            yield Difference("tile", f"{key}/{ordinal}", problem)


def _version(entry: bytes) -> str:
    try:
        return str(TileEntry.unpack(entry).version)
    except DekerMetaDataError:
        return "?"
