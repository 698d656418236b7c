"""The process of one contender: calls arrive as lines of JSON on stdin, replies leave on stdout.

Runs in the contender's own environment: only the standard library, numpy and xxhash.

A call names a function, ``module:name``, and its arguments; the function gets this process's
adapter first and returns something that JSON can hold. What takes part in a workload is therefore
code of that workload's module, or of :mod:`benchmarks.suite.operations`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from benchmarks.suite.data import Dataset, Selection, Values

__all__ = ["Adapter", "UnsupportedError", "resolve"]


class UnsupportedError(Exception):
    """The library has no way to do this; the text says what it lacks."""


class Adapter(Protocol):
    """One library. Constructed with the folder for its files, and the settings of its spec.

    Those with a call for many selections have ``read_many(dataset, selections)`` as well.
    """

    def __init__(self, folder: Path, **settings: Any) -> None: ...

    def versions(self) -> dict[str, str]:
        """Return the versions of what does the work, and the settings that matter."""
        ...

    def create(self, dataset: Dataset, *, fsync: bool) -> None:
        """Make what :meth:`write` will fill; with ``fsync`` it then returns when all is on disk."""
        ...

    def write(self, dataset: Dataset, values: Values) -> None:
        """Write all cells of an array that was created, over those that it has."""
        ...

    def open(self, dataset: Dataset) -> None:
        """Open for reading, anew if it is open, what was written, maybe by another process."""
        ...

    def read(self, dataset: Dataset, selection: Selection) -> Any:
        """Return the cells of an opened array as a numpy array that owns its memory."""
        ...

    def files(self, dataset: Dataset) -> list[Path]:
        """Return the files that hold the array, or the folders with them."""
        ...

    def delete(self, dataset: Dataset) -> None:
        """Close the array and delete its files; others may have deleted them."""
        ...

    def close(self) -> None:
        """End everything that the adapter has started."""
        ...


def resolve(name: str) -> Any:
    """Return what ``module:name`` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _main() -> None:
    spec = json.loads(sys.argv[1])
    # Before any library counts the cores.
    os.sched_setaffinity(0, spec["cores"])
    # Libraries print; the replies need a descriptor that they do not know.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    begin = time.perf_counter()
    try:
        adapter = resolve(spec["adapter"])(Path(spec["folder"]), **spec["settings"])
        about = {"python": ".".join(map(str, sys.version_info[:3])), **adapter.versions()}
    except Exception as error:  # noqa: BLE001 - the row says why the contender is missing
        traceback.print_exc()
        print(json.dumps({"failed": _brief(error)}), file=replies)
        return
    opening_s = time.perf_counter() - begin
    print(json.dumps({"versions": about, "opening_s": opening_s}), file=replies)
    try:
        for line in sys.stdin:
            print(json.dumps(_answer(adapter, json.loads(line))), file=replies)
    finally:
        adapter.close()


def _answer(adapter: Adapter, call: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": resolve(call["function"])(adapter, **call["arguments"])}
    except UnsupportedError as error:
        return {"failed": str(error)}
    except Exception as error:  # noqa: BLE001 - the driver decides; the others go on
        traceback.print_exc()
        return {"failed": _brief(error)}


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"


if __name__ == "__main__":
    # Under the name that adapters import it by: their UnsupportedError must be this one.
    sys.modules["benchmarks.suite.contender"] = sys.modules["__main__"]
    _main()
