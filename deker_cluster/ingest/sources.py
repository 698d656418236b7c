"""What a user gives as sources: paths, folders, patterns, datasets; and what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.files import expanded, kind_of
from deker_cluster.ingest.gridded import find_dataset, find_gridded, is_dataset
from deker_cluster.ingest.nodata import usable_nodata
from deker_cluster.ingest.numpy_files import find_numpy
from deker_cluster.ingest.plan import Problem
from deker_cluster.ingest.raster import find_raster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.ingest.found import FoundArray

__all__ = ["Looking", "find", "is_ray_dataset", "listed"]


_WHY_LENGTH = 300
"""Of what other libraries say; some give links and advice for pages."""


@attrs.frozen(kw_only=True)
class Looking:
    """What to look for in inputs."""

    corner: bool = False
    nodata: float | None = None
    variables: Sequence[str] | None = None
    dims: Sequence[str] | None = None


def is_ray_dataset(source: object) -> bool:
    """Whether a source is a ``ray.data.Dataset``; Ray is not loaded for that."""
    return any((kind.__module__ or "").startswith("ray.data.") for kind in type(source).__mro__)


def listed(sources: object) -> tuple[list[Any], list[str]]:
    """Return paths and datasets, in the order of precedence, and what is to be said of them.

    Files of a folder or a pattern are sorted by name; the same file given twice counts once.

    Raises
    ------
    DekerValidationError
        There are none, or something that is no source.
    """
    if is_ray_dataset(sources):
        raise DekerValidationError(
            "a Ray Dataset has no plan, its rows are known when they come: ingest() writes it"
        )
    several = isinstance(sources, Iterable) and not (
        isinstance(sources, (str, bytes, os.PathLike, Mapping)) or is_dataset(sources)
    )
    items: list[Any] = []
    seen: set[str] = set()
    repeated: list[str] = []
    for source in sources if several else [sources]:  # type: ignore[attr-defined]
        if is_dataset(source):
            items.append(source)
            continue
        if not isinstance(source, (str, os.PathLike)):
            raise DekerValidationError(
                f"{shown(source)} is no source: give paths, folders or patterns of files, an "
                "xarray.Dataset or DataArray, or a list of these"
            )
        for path in expanded(os.fspath(source)):
            (repeated if path in seen else items).append(path)
            seen.add(path)
    if not items:
        raise DekerValidationError("there is nothing to ingest: the list of sources is empty")
    notes = [f"{len(repeated)} inputs are named twice, such as {repeated[0]}"] if repeated else []
    return items, notes


def default_name(sources: object, items: Sequence[Any]) -> str | None:
    """Return a name for a new collection: that of the only file, or of the folder."""
    paths = [item for item in items if isinstance(item, str)]
    if len(paths) == 1 == len(items):
        return Path(paths[0]).stem
    if isinstance(sources, (str, os.PathLike)) and Path(sources).is_dir():
        return Path(sources).resolve().name
    return None


def find(items: Sequence[Any], looking: Looking) -> tuple[list[FoundArray], list[Problem]]:
    """Return what the inputs hold, and those that cannot be opened.

    Raises
    ------
    DekerValidationError
        None of them can.
    """
    found: list[FoundArray] = []
    problems: list[Problem] = []
    for place, item in enumerate(items):
        number = f" {place}" if len(items) > 1 else ""
        name = item if isinstance(item, str) else f"the dataset{number}"
        try:
            held = _held(item, name, looking)
            found += [_with_nodata(one, looking.nodata) for one in held]
        except Exception as error:  # noqa: BLE001 -- any library's, about any broken file
            problems.append(Problem(source=name, why=_why(error)))
    if not found:
        told = "\n  ".join(str(problem) for problem in problems[:5])
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DekerValidationError(f"no input can be read:\n  {told}{more}")
    return found, problems


def _why(error: Exception) -> str:
    if isinstance(error, DekerValidationError):
        return str(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _WHY_LENGTH else f"{text[:_WHY_LENGTH]}..."


def _held(item: Any, name: str, looking: Looking) -> list[FoundArray]:
    if not isinstance(item, str):
        return find_dataset(item, name, looking.variables)
    kind = kind_of(item)
    if looking.dims is not None and kind != "numpy":
        raise DekerValidationError(
            "its dimensions have names already; dims= is for NumPy files, rename= gives other names"
        )
    if kind == "numpy":
        return find_numpy(item, looking.variables, looking.dims)
    if kind == "gridded":
        return find_gridded(item, looking.variables)
    if looking.variables is not None:
        raise DekerValidationError("a raster has bands, and no variables to choose: variables=")
    return [find_raster(item, corner=looking.corner, nodata=looking.nodata)]


def _with_nodata(found: FoundArray, nodata: float | None) -> FoundArray:
    if nodata is None:
        return found
    usable = usable_nodata(nodata, found.dtype)
    if usable is None:
        raise DekerValidationError(
            f"nodata={nodata} is no value that a cell of dtype {found.dtype} can have"
        )
    return attrs.evolve(found, nodata=usable)
