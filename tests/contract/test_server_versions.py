"""Versions of the server, of the functions that it holds, and of the client."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
import redis

from deker_cluster.errors import RegistryRefusedError
from deker_cluster.registry import Registry
from deker_cluster.registry.functions import LIBRARY_VERSION, OLDEST_CLIENT_VERSION
from tests.contract.test_server_faults import opened

if TYPE_CHECKING:
    from tests.contract.servers import Server


def test_a_server_without_functions_is_too_old() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                while asked := connection.recv(1000):
                    command = asked.split(b"\r\n")[2]
                    connection.sendall(b"-ERR unknown command '%s', with args\r\n" % command)

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        registry = Registry(lambda: redis.Redis(port=port, protocol=2), "t", deadline_s=20)
        with pytest.raises(RegistryRefusedError, match="too old: Redis 7"):
            registry.ping()
        registry.close()
        thread.join()


@pytest.mark.parametrize("oldest", [None, OLDEST_CLIENT_VERSION, LIBRARY_VERSION])
def test_a_newer_library_that_serves_us(own_server: Server, oldest: int | None) -> None:
    with own_server.connect() as admin:
        admin.function_load(library(LIBRARY_VERSION + 1, oldest), replace=True)
        registry = Registry(own_server.connect, "t")
        registry.ping()
        registry.close()
        assert admin.execute_command("FCALL_RO", "deker1_version", 0) == LIBRARY_VERSION + 1


def test_a_newer_library_that_no_longer_serves_us(own_server: Server) -> None:
    registry = Registry(own_server.connect, "t")
    with own_server.connect() as admin:
        admin.function_load(library(LIBRARY_VERSION + 5, LIBRARY_VERSION + 2), replace=True)
        with pytest.raises(RegistryRefusedError, match="install the newer deker-cluster"):
            registry.ping()
        # Nothing was overwritten: the others go on.
        assert admin.execute_command("FCALL_RO", "deker1_version", 0) == LIBRARY_VERSION + 5
    registry.close()


def library(version: int, oldest: int | None) -> str:
    functions = {"version": version} | ({} if oldest is None else {"oldest_client": oldest})
    return "#!lua name=deker1\n" + "\n".join(
        f"redis.register_function{{function_name='deker1_{name}', flags={{'no-writes'}}, "
        f"callback=function() return {value} end}}"
        for name, value in functions.items()
    )


def test_the_library_tells_its_oldest_client(own_server: Server) -> None:
    opened(own_server).close()
    with own_server.connect() as admin:
        found = admin.execute_command("FCALL_RO", "deker1_oldest_client", 0)
    assert found == OLDEST_CLIENT_VERSION <= LIBRARY_VERSION
