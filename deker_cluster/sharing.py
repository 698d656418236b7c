"""Sessions for handles that come out of pickles: shared in a process, left a while after use."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deker_cluster.dataplane.session import Session

__all__ = ["LINGER_S", "SessionPool"]

LINGER_S = 10.0
"""How long a session stays open after its last handle is gone. A worker of Ray that runs task
after task so opens it once; but an idle worker must not keep a storage's services alive."""


class SessionPool:
    """Open sessions that nobody uses at the moment, by process and address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[tuple[int, str], tuple[Session, threading.Timer]] = {}
        self._ended = False

    def take(self, uri: str) -> Session | None:
        """Return an idle session of this process, which then is the caller's."""
        with self._lock:
            session, timer = self._idle.pop((os.getpid(), uri), (None, None))
        if timer is not None:
            timer.cancel()
        return session

    def give(self, uri: str, session: Session) -> None:
        """Keep a session for the next user, or close it when none comes."""
        key = (os.getpid(), uri)
        timer = threading.Timer(LINGER_S, self._close, (key, session))
        timer.daemon = True
        with self._lock:
            if key not in self._idle and not self._ended:
                self._idle[key] = session, timer
                timer.start()
                return
        session.close()

    def end(self) -> None:
        """Close what is idle, and from now on what comes: a process that ends starts no threads."""
        with self._lock:
            self._ended = True
            idle = [kept for (pid, _), kept in self._idle.items() if pid == os.getpid()]
            self._idle.clear()
        for session, timer in idle:
            timer.cancel()
            session.close()

    def _close(self, key: tuple[int, str], session: Session) -> None:
        with self._lock:
            kept = self._idle.get(key)
            if kept is None or kept[0] is not session:
                return  # taken at the last moment
            del self._idle[key]
        session.close()
