"""A bad link between this process and the registry's server."""

from __future__ import annotations

import random
import time
from typing import Any

import redis
from redis.connection import AbstractConnection

__all__ = ["spoil_link"]


def spoil_link(seed: int, *, cut: float, slow: float) -> None:
    """From now on lose some of the registry's replies, and hold up others, in this process.

    Parameters
    ----------
    cut
        Share of the requests whose reply is lost, with the connection: the server has run them.
    slow
        Share of the requests that wait some milliseconds on their way.
    """
    chance = random.Random(seed)
    plain_send, plain_read = AbstractConnection.send_command, AbstractConnection.read_response

    def send(self: Any, *words: Any, **options: Any) -> Any:
        if chance.random() < slow:
            time.sleep(chance.uniform(0.001, 0.05))
        return plain_send(self, *words, **options)

    def read(self: Any, *words: Any, **options: Any) -> Any:
        reply = plain_read(self, *words, **options)
        if chance.random() < cut:
            self.disconnect()
            raise redis.ConnectionError("the reply was lost on its way")
        return reply

    AbstractConnection.send_command = send  # type: ignore[method-assign]
    AbstractConnection.read_response = read  # type: ignore[method-assign]
