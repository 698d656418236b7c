"""The source of a Ray Dataset. Importing this module imports Ray Data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from deker_cluster.ray.row_columns import Rows

__all__ = ["DekerDatasource"]


class DekerDatasource(Datasource):  # type: ignore[misc]  # Ray has no types
    """Rows of one snapshot, in blocks that are planned already.

    Parameters
    ----------
    rows
        Kept here, so that the snapshot stays open for as long as the dataset is there.
    shared
        Reference of the same in the object store: tasks are many, and a manifest may be large.
    blocks
        Numbers of the rows of each block.
    """

    def __init__(self, rows: Rows, shared: Any, blocks: Sequence[npt.NDArray[np.int64]]) -> None:
        super().__init__()
        self._rows = rows
        self._shared = shared
        self._blocks = blocks

    def get_name(self) -> str:
        """Return what Ray's progress bars call it."""
        return "Deker"

    def estimate_inmemory_data_size(self) -> int:
        """Return the size of all cells, in bytes."""
        return sum(map(len, self._blocks)) * self._rows.row_bytes

    def get_read_tasks(
        self,
        parallelism: int,  # noqa: ARG002 - the blocks are what they are
        per_task_row_limit: int | None = None,
        data_context: Any = None,  # noqa: ARG002
    ) -> list[Any]:
        """Return a task for each block; with a limit it does not read what nobody will see."""
        schema, row_bytes = self._rows.schema, self._rows.row_bytes
        tasks = []
        for block in self._blocks:
            numbers = block if per_task_row_limit is None else block[:per_task_row_limit]
            metadata = BlockMetadata(
                num_rows=len(numbers),
                size_bytes=len(numbers) * row_bytes,
                input_files=None,
                exec_stats=None,
            )
            tasks.append(ReadTask(_reader(self._shared, numbers), metadata, schema=schema))
        return tasks


def _reader(shared: Any, numbers: npt.NDArray[np.int64]) -> Callable[[], Iterable[pa.Table]]:
    def read_block() -> Iterable[pa.Table]:
        rows: Rows = ray.get(shared)
        return [rows.table(numbers)]

    return read_block
