"""Time that is spent inside of named functions, measured by wrapping them from outside."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Step", "StepClock"]


@attrs.frozen
class Step:
    """A function whose calls are timed."""

    name: str
    owner: Any
    """The module that calls it by a global name, or its class."""
    attribute: str


class StepClock:
    """Adds up, for each step, the time of its calls without that of the steps inside of them.

    Only the thread that made the clock counts: renewal and sweeping go on beside it.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._thread = threading.get_ident()
        self._inside: list[float] = []
        self.spent_s: dict[str, float] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Wrap the functions for the time of the block; the figures begin at 0."""
        self.spent_s = dict.fromkeys((step.name for step in self._steps), 0.0)
        originals = [getattr(step.owner, step.attribute) for step in self._steps]
        try:
            for step, original in zip(self._steps, originals, strict=True):
                setattr(step.owner, step.attribute, self._timed(step.name, original))
            yield
        finally:
            for step, original in zip(self._steps, originals, strict=True):
                setattr(step.owner, step.attribute, original)

    def _timed(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def timed(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return original(*arguments, **named)
            self._inside.append(0.0)
            begin = time.perf_counter()
            try:
                return original(*arguments, **named)
            finally:
                took = time.perf_counter() - begin
                self.spent_s[name] += took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        return timed
