"""Finds processes that outlive the script which started them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

LEAVE_LIMIT_S = 60


def running_in(folder: Path) -> list[psutil.Process]:
    """Return the processes that run in a folder or were told its name.

    Neither parent nor environment can tell: services make sessions of their own, and some write
    their title over their environment.
    """
    found = []
    for process in psutil.process_iter():
        try:
            places = [process.cwd(), *process.cmdline()]
        except psutil.Error:
            continue
        if any(str(folder) in place for place in places):
            found.append(process)
    return found


def left_behind(folder: Path) -> list[str]:
    """Wait until nothing runs in a folder any more; what still does is killed and returned."""
    give_up = time.monotonic() + LEAVE_LIMIT_S
    while (running := running_in(folder)) and time.monotonic() < give_up:
        time.sleep(0.2)
    texts = []
    for process in running:
        try:
            texts.append(f"{process.pid} {process.cmdline()}")
            process.kill()
        except psutil.Error:
            continue
    return texts
