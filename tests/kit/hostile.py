"""Inputs that somebody made to do harm, and what must become of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from deker_cluster.errors import DekerBaseApplicationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CANARY", "Case", "RefusedError", "refused", "tried"]

CANARY = "canary-5up3r-s3cret"
"""A password that no error may show."""


class RefusedError(DekerBaseApplicationError):
    """An error of the operating system that is as good as one of ours."""


@attrs.frozen
class Case:
    """One input."""

    name: str
    use: Callable[[], object]
    must_fail: bool

    def problem(self) -> str:
        """Try it; return what is wrong with what came of it, "" if nothing is."""
        try:
            result = self.use()
        except DekerBaseApplicationError as error:
            return self._leak(error)
        except Exception as error:  # noqa: BLE001 - any other error is what is looked for
            return f"{type(error).__name__}: {str(error)[:200]}"
        if self.must_fail:
            return f"was accepted: {str(result)[:100]}"
        return ""

    def _leak(self, error: BaseException) -> str:
        shown: BaseException | None = error
        while shown is not None:
            if CANARY in f"{shown} {shown!r} {shown.args}":
                return f"{type(shown).__name__} shows the password"
            shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
        return ""


def refused(name: str, use: Callable[[], object]) -> Case:
    """Return an input that must be refused, by an error of ours."""
    return Case(name, use, must_fail=True)


def tried(name: str, use: Callable[[], object]) -> Case:
    """Return an input that may be refused, or may do no harm."""
    return Case(name, use, must_fail=False)
