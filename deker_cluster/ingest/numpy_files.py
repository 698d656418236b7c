"""NumPy's own files: ``.npy``, and the members of ``.npz``."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import Axis
from deker_cluster.ingest.files import identity_of
from deker_cluster.ingest.found import FoundArray, stored_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.ingest.plan import Box

__all__ = ["NumpyReader", "find_numpy"]

_COPY_BYTES = 2**20


@attrs.frozen(kw_only=True)
class NumpyReader:
    """How an array in a file of NumPy is mapped into memory."""

    path: str
    member: str | None = None
    """Of an ``.npz``; a compressed one is unpacked into a temporary file first."""
    together: ClassVar[int | None] = None

    @contextmanager
    def open(self) -> Iterator[_Cells]:
        """Map the file."""
        with ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(Path(self.path).open("rb"))
            if self.member is not None:
                archive = stack.enter_context(zipfile.ZipFile(file))
                unpacked = stack.enter_context(tempfile.TemporaryFile())
                with archive.open(f"{self.member}.npy") as packed:
                    shutil.copyfileobj(packed, unpacked, _COPY_BYTES)
                unpacked.seek(0)
                file = unpacked
            yield _Cells(_mapped(file))


class _Cells:
    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def read(self, box: Box) -> tuple[npt.NDArray[Any], None]:
        cells = np.array(self._array[box])
        return cells.astype(stored_dtype(cells.dtype), copy=False), None


def _mapped(file: IO[bytes]) -> npt.NDArray[Any]:
    shape, fortran, dtype = _header(file)
    if not all(shape) or not shape:
        return np.empty(shape, dtype)
    return np.memmap(
        file, dtype, "r", offset=file.tell(), shape=shape, order="F" if fortran else "C"
    )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def find_numpy(
    path: str, variables: Sequence[str] | None, dims: Sequence[str] | None
) -> list[FoundArray]:
    """Return the arrays of an ``.npy`` or ``.npz`` file; only headers are read.

    Parameters
    ----------
    variables
        Of the members of an ``.npz`` only these; None: all.
    dims
        Names of the axes; None: ``dim_0`` and so on.

    Raises
    ------
    DekerValidationError
        Not all of `variables`; other numbers of axes; cells that are no numbers.
    """
    if Path(path).suffix.lower() == ".npy":
        if variables is not None:
            raise DekerValidationError("it holds one array without a name: leave out variables=")
        with Path(path).open("rb") as file:
            return [_found(path, None, _header(file), dims, _size(file))]
    with zipfile.ZipFile(path) as archive:
        members = [
            name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")
        ]
        wrong = [name for name in variables or () if name not in members]
        if wrong or not members:
            raise DekerValidationError(
                f"it has no array {wrong[0] if wrong else ''!r}; there are: "
                f"{', '.join(members) or 'none'}"
            )
        found = []
        for member in variables or members:
            with archive.open(f"{member}.npy") as packed:
                found.append(_found(path, member, _header(packed), dims, None))
        return found


def _size(file: IO[bytes]) -> int:
    place = file.tell()
    return file.seek(0, 2) - place


def _found(
    path: str,
    member: str | None,
    header: tuple[tuple[int, ...], bool, np.dtype[Any]],
    dims: Sequence[str] | None,
    size_bytes: int | None,
) -> FoundArray:
    shape, _, dtype = header
    if not shape or not all(shape):
        raise DekerValidationError(f"it holds an array of shape {shape}, which has no cells")
    needed_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size_bytes is not None and size_bytes < needed_bytes:
        raise DekerValidationError(
            f"it is truncated: {needed_bytes} bytes of cells are announced, it has {size_bytes}"
        )
    names = [f"dim_{axis}" for axis in range(len(shape))] if dims is None else list(dims)
    if len(names) != len(shape):
        raise DekerValidationError(
            f"it has {len(shape)} axes, {shape}, dims= names {len(names)}: {', '.join(names)}"
        )
    stored = stored_dtype(dtype)
    return FoundArray(
        source=path,
        name=Path(path).stem,
        variable=member,
        axes=tuple(Axis(name, size) for name, size in zip(names, shape, strict=True)),
        dtype=stored,
        nodata=float("nan") if stored.kind in "fc" else None,
        reader=NumpyReader(path=path, member=member),
        reading=f"{identity_of(path)}:{member}",
    )
