"""Finds processes that outlive the script which started them."""

from __future__ import annotations

import time
import uuid

import psutil

MARK = "DEKER_TEST_MARK"
LEAVE_LIMIT_S = 60


def new_mark() -> str:
    """Return a value for the environment variable ``MARK``; every descendant inherits it."""
    return uuid.uuid4().hex


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that carry a mark, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_behind(mark: str) -> list[str]:
    """Wait until nothing with the mark runs; what still does is killed and returned."""
    give_up = time.monotonic() + LEAVE_LIMIT_S
    while (running := marked(mark)) and time.monotonic() < give_up:
        time.sleep(0.2)
    texts = []
    for process in running:
        try:
            texts.append(f"{process.pid} {process.cmdline()}")
            process.kill()
        except psutil.Error:
            continue
    return texts
