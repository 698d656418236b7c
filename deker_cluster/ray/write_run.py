"""The driver's side of a write: hand blocks to tasks as they come, and bring pieces together.

Importing this module imports Ray.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerClientError, DekerIndexError
from deker_cluster.ray.write_tasks import Kept, Staged, Work, stage_block, stage_kept

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from deker_cluster.dataplane.staging import Change

__all__ = ["run"]

_TOGETHER_BYTES = 32 << 20
"""Cells of complete tiles that one task puts in place."""

_STOPPED_WITHIN_S = 30.0
"""How long tasks of a write that has failed may take to end."""


def run(dataset: Any, work: Work, shared: Any) -> tuple[list[Change], int]:
    """Put all tiles of a dataset's rows in place.

    Parameters
    ----------
    shared
        Reference of `work` in the object store.

    Returns
    -------
    list of Change
        What the commit has to change.
    int
        Number of rows.

    Raises
    ------
    DekerIndexError
        Rows overlap.
    Exception
        What a task, or the dataset itself, has raised. No task runs any more.
    """
    cores = int(ray.cluster_resources().get("CPU", 1))
    tasks = _Tasks(work, shared, most=max(2, cores))
    blocks = _blocks(dataset)
    try:
        for block, rows in blocks:
            tasks.give(block, rows)
        tasks.finish()
    except BaseException:
        blocks.close()  # ends the dataset's own tasks
        tasks.stop()
        raise
    return list(tasks.changes.values()), tasks.rows


def _blocks(dataset: Any) -> Generator[tuple[Any, tuple[int, int] | None], None, None]:
    """Yield the dataset's blocks as they are made: reference, and the rows that count."""
    for bundle in dataset.iter_internal_ref_bundles():
        for entry, part in zip(bundle.blocks, bundle.slices, strict=True):
            yield entry.ref, None if part is None else (part.start_offset, part.end_offset)


class _Tasks:
    """The tasks of one write.

    A tile whose cells come in several blocks waits until it is complete: its pieces stay in the
    object store, where the tasks have left them.
    """

    def __init__(self, work: Work, shared: Any, most: int) -> None:
        self._work = work
        self._shared = shared
        self._most = most
        self._running: dict[Any, list[Any]] = {}
        """Reference of what a task tells -> those of the cells that it keeps, by group."""
        self._waiting: dict[int, list[tuple[Any, Kept]]] = {}
        """Ordinal -> pieces, each with the reference of its cells."""
        self._ready: dict[int, list[tuple[Any, Kept]]] = {}
        """Group -> pieces of complete tiles."""
        self._ready_cells: Counter[int] = Counter()
        self.changes: dict[int, Change] = {}
        self.rows = 0

    def give(self, block: Any, rows: tuple[int, int] | None) -> None:
        """Begin with a block; waits while enough is under way."""
        self._await(self._most - 1)
        task = stage_block.options(num_returns=1 + self._work.groups)
        told, *cells = task.remote(self._shared, block, rows)
        self._running[told] = cells

    def finish(self) -> None:
        """Wait for all; tiles that did not become complete keep their other cells."""
        self._await(0)
        for ordinal in sorted(self._waiting):
            self._await(self._most - 1)
            self._make_ready(ordinal)
        for group in sorted(self._ready):
            self._await(self._most - 1)
            self._put_together(group)
        self._await(0)

    def stop(self) -> None:
        """Wait for what runs: what it leaves behind is discarded next.

        Tasks are short. Cancelled ones have crashed the driver (Ray 2.60: "Tried to complete task
        that was not pending").
        """
        if self._running:
            tasks = list(self._running)
            ended, _ = ray.wait(tasks, num_returns=len(tasks), timeout=_STOPPED_WITHIN_S)
            for task in ended:
                with contextlib.suppress(RayError):
                    self._get(task)

    def _await(self, most: int) -> None:
        while len(self._running) > most:
            (done,), _ = ray.wait(list(self._running), num_returns=1)
            with _own_errors():
                staged, cells = self._get(done)
            self._take_up(staged, cells)

    def _get(self, task: Any) -> tuple[Staged, list[Any]]:
        """Return what a task tells, and the references of the cells that it keeps."""
        cells = self._running.pop(task)
        try:
            return ray.get(task), cells
        except RayError:
            # Ray reports errors that nobody has looked at: this is the same one.
            for each in cells:
                with contextlib.suppress(RayError):
                    ray.get(each)
            raise

    def _take_up(self, staged: Staged, cells: list[Any]) -> None:
        self.rows += staged.rows
        for change in staged.changes:
            if change.ordinal in self.changes or change.ordinal in self._waiting:
                raise self._overlap(change.ordinal)
            self.changes[change.ordinal] = change
        for kept in staged.kept:
            if kept.ordinal in self.changes:
                raise self._overlap(kept.ordinal)
            group = self._work.group_of(kept.ordinal)
            self._waiting.setdefault(kept.ordinal, []).append((cells[group], kept))
        for ordinal in dict.fromkeys(kept.ordinal for kept in staged.kept):
            pieces = self._waiting[ordinal]
            if self._work.complete(ordinal, sum(kept.cells for _, kept in pieces)):
                self._make_ready(ordinal)

    def _make_ready(self, ordinal: int) -> None:
        """Put a tile together when there are enough of its group for a task."""
        group = self._work.group_of(ordinal)
        pieces = self._waiting.pop(ordinal)
        self._ready.setdefault(group, []).extend(pieces)
        self._ready_cells[group] += sum(kept.cells for _, kept in pieces)
        if self._ready_cells[group] * self._work.target.dtype.itemsize >= _TOGETHER_BYTES:
            self._put_together(group)

    def _put_together(self, group: int) -> None:
        ready = self._ready.pop(group)
        self._ready_cells[group] = 0
        cells = list(dict.fromkeys(each for each, _ in ready))
        numbers = {each: number for number, each in enumerate(cells)}
        kept = [(numbers[each], piece) for each, piece in ready]
        self._running[stage_kept.remote(self._shared, kept, *cells)] = []

    def _overlap(self, ordinal: int) -> DekerIndexError:
        return DekerIndexError(
            f"rows overlap in tile {ordinal} of array {self._work.target.array.id}: each cell can "
            "be written once; nothing was changed"
        )


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raise what a task raised without Ray's wrapper, which tells where, as the cause."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise
    except RayError as error:
        raise DekerClientError(
            "a task of the write was lost, and Ray has given up to run it again; nothing was "
            f"changed: {shown(error, 500)}"
        ) from error
