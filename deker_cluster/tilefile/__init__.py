"""The tile file: an HDF5 file whose userblock holds an index of its chunks.

The index lets a reader fetch and decode just the chunks that it needs, outside the lock of the
HDF5 library; any HDF5 tool can still open the file. Nothing is imported here, so that the pure
parts (:mod:`.layout`) stay light.
"""

from __future__ import annotations

__all__: list[str] = []
