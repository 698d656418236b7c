"""End with the parent process: an actor whose raylet has died serves nobody, but holds locks."""

from __future__ import annotations

import os
import threading
import time

__all__ = ["end_with_parent"]

_CHECK_EVERY_S = 1.0


def end_with_parent() -> None:
    """Watch the parent from a background thread, and end this process at once when it has died.

    Ray ends such workers too, but only when they notice by themselves, which took a busy machine
    more than half a minute; meanwhile the next user of the directory would have to wait.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_CHECK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="deker-parent", daemon=True).start()
