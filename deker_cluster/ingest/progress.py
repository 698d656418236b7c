"""How far an ingestion is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ProgressBar"]


class ProgressBar:
    """Bytes that are done, of all, on standard error or told to a function.

    Parameters
    ----------
    done_bytes
        What earlier runs have done: it does not count for the speed.
    progress
        True: a bar, if standard error is a terminal. A function: called with bytes that are done
        and bytes in all, at the beginning and after each group.
    """

    def __init__(
        self, done_bytes: int, total_bytes: int, progress: bool | Callable[[int, int], None]
    ) -> None:
        self._told = progress if callable(progress) else None
        self._total_bytes = total_bytes
        self._done_bytes = done_bytes
        self._bar: tqdm[Any] = tqdm(
            initial=done_bytes,
            total=total_bytes,
            desc="ingest",
            unit="B",
            unit_scale=True,
            disable=None if progress is True else True,
        )
        self.step(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self, n_bytes: int) -> None:
        """Count bytes."""
        self._done_bytes += n_bytes
        self._bar.update(n_bytes)
        if self._told is not None:
            self._told(self._done_bytes, self._total_bytes)
