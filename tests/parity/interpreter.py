"""Run a program's steps. Deker's process and our own run this very file.

A step is an expression in Python, so that a program reads as the script that a user would write.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.parity.encoding import encode

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Interpreter", "cells"]


def cells(shape: tuple[int, ...], dtype: Any, seed: int, low: int = 1, high: int = 100) -> Any:
    """Return the same numbers on both sides; none of them is a default fill value.

    Parameters
    ----------
    shape, dtype
        Of the result.
    seed
        Other seeds give other numbers.
    low, high
        Whole numbers from `low` to ``high - 1``; floating point types get a quarter more.
    """
    # The streams of RandomState are the same in all versions of numpy.
    numbers = np.random.RandomState(seed).randint(low, high, shape)
    kind = np.dtype(dtype).kind
    return np.asarray(numbers + (0.25 if kind in "fc" else 0)).astype(dtype)


class Interpreter:
    """Runs programs on one side.

    Parameters
    ----------
    deker
        The module: Deker, or this package.
    client
        An open client that the programs share.
    folder
        For programs that open storages of their own.
    runs_witnesses
        Whether `witness` expressions run on this side: they do on Deker's.
    """

    def __init__(self, deker: Any, client: Any, folder: Path, *, runs_witnesses: bool) -> None:
        self._deker = deker
        self._client = client
        self._folder = folder
        self._runs_witnesses = runs_witnesses
        self._programs = itertools.count()

    def run(self, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the outcome of every step.

        Parameters
        ----------
        steps
            ``text``: the expression; ``target``: the name that its value gets; ``witness``: an
            expression that Deker runs beside it, and whose value the target gets then: when the
            step has raised, or in any case if ``always`` is set.

        Returns
        -------
        list of dict
            ``value``, ``error`` or ``skipped`` (the step needs a target whose step has failed),
            and ``witness``, an outcome, if one was run.
        """
        folder = self._folder / f"program-{next(self._programs)}"
        names: dict[str, str] = {}
        space = {
            "deker": self._deker,
            "client": self._client,
            "root": folder,
            "np": np,
            "json": json,
            "datetime": datetime,
            "timedelta": timedelta,
            "timezone": timezone,
            "cells": cells,
            "ids": lambda arrays: sorted(names.get(array.id, array.id) for array in arrays),
        }
        failed: set[str] = set()
        # Some calls print their result.
        with contextlib.redirect_stdout(io.StringIO()):
            return [self._step(step, space, failed, names) for step in steps]

    def _step(
        self,
        step: dict[str, Any],
        space: dict[str, Any],
        failed: set[str],
        names: dict[str, str],
    ) -> dict[str, Any]:
        target = step.get("target")
        outcome, value = _evaluate(step["text"], space, failed, names, target)
        witness = step.get("witness")
        if witness is not None and self._runs_witnesses and "skipped" not in outcome:
            if step.get("always") or "error" in outcome:
                outcome["witness"], value = _evaluate(witness, space, failed, names, target)
                stands = "error" not in outcome["witness"]
            else:
                stands = True
        else:
            stands = "value" in outcome
        if target is not None:
            if stands:
                space[target] = value
                failed.discard(target)
            else:
                space.pop(target, None)
                failed.add(target)
        return outcome


def _evaluate(
    text: str,
    space: dict[str, Any],
    failed: set[str],
    names: dict[str, str],
    target: str | None,
) -> tuple[dict[str, Any], Any]:
    code = compile(text, "<step>", "eval")
    missing = failed.intersection(code.co_names)
    if missing:
        return {"skipped": sorted(missing)}, None
    try:
        value = eval(code, space)  # noqa: S307 - programs are written by the tests themselves
        array_id = getattr(value, "id", None)
        if target is not None and isinstance(array_id, str):
            names[array_id] = f"<{target}>"
        return {"value": encode(value, names)}, value
    except Exception as error:  # noqa: BLE001 - what is raised is what is compared
        ancestors = [kind.__name__ for kind in type(error).__mro__ if kind is not object]
        return {"error": ancestors, "text": str(error)[:500]}, None
