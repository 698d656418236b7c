"""The command as a whole: addresses, exit codes, help, completion, what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from deker_cluster.errors import ShardUnavailableError
from deker_coordinator.cli import main
from deker_coordinator.cli.commands import Group, Stopped
from tests.integration.commands import give_up_soon, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_cluster import Client, VArray

WITHOUT_RAY = """
import contextlib, io, json, sys
from deker_coordinator.cli import main
told = []
for words in json.loads(sys.argv[1]):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main(words, prog_name="deker-cluster")
    except SystemExit as end:
        told.append([words, end.code, "ray" in sys.modules, "click" in sys.modules])
print(json.dumps(told))
"""

NOWHERE = "deker://:canary@127.0.0.1:1/x"


def all_commands(group: Group = main, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:  # type: ignore[assignment]
    for name, found in group.commands.items():
        if isinstance(found, click.Group):
            yield from all_commands(found, (*before, name))  # type: ignore[arg-type]
        else:
            yield (*before, name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the storage is; its services end by themselves, other tests wait for that."""
    return tmp_path / "data"


@pytest.mark.parametrize("words", list(all_commands()), ids=" ".join)
def test_every_command_has_help_and_json(words: tuple[str, ...]) -> None:
    text = run(*words, "--help")
    assert words[-1] in text
    if words != ("completion",):
        assert "--json" in text


def test_the_help_tells_the_exit_codes() -> None:
    text = " ".join(run("--help").split())
    for part in ("0 fine", "1 something is wrong", "2 wrong usage", "3 not reachable", "130"):
        assert part in text


def test_the_address_may_stand_in_the_environment(client: Client, grid: VArray) -> None:
    uri = f"file://{client.root_path}"
    for words in (("collections",), ("ls", "grids"), ("describe", "grids", grid.id)):
        assert run(*words, DEKER_CLUSTER_URI=uri) == run(words[0], uri, *words[1:])
    assert run("collections", DEKER_CLUSTER_URI="file:///nothing", code=3)
    assert run("ls", uri, "grids", DEKER_CLUSTER_URI="file:///nothing"), "an argument comes first"


def test_the_address_of_an_export_may_stand_in_the_environment(
    client: Client, grid: VArray, tmp_path: Path
) -> None:
    uri = f"file://{client.root_path}"
    run("export", f"file://{tmp_path / 'out'}", "--quiet", DEKER_CLUSTER_URI=uri)
    assert (tmp_path / "out" / "collections" / "grids").is_dir()


@pytest.mark.parametrize(
    "words", [("status",), ("drain", "0"), ("join", "--data-dir", "/nowhere")], ids=lambda it: it[0]
)
def test_a_registry_that_does_not_answer(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_soon(monkeypatch)
    monkeypatch.setattr("deker_coordinator.cli.clusters.connect_ray", lambda _: None)
    text = run(words[0], NOWHERE, *words[1:], code=3)
    assert "did not answer" in text
    assert "canary" not in text


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("collections",),
        ("describe", "c"),
        ("gc",),
        ("show", "c", "a", ":"),
        ("locks", "--clear"),
        ("doctor",),
        ("drain", "0"),
        ("repair", "--lost", "0"),
        ("registry", "verify"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("scheme", ["file", "deker"])
def test_looking_at_nothing_makes_nothing(
    words: tuple[str, ...], scheme: str, tmp_path: Path
) -> None:
    at = 2 if words[0] == "registry" else 1
    path = tmp_path / "nothing"
    text = run(*words[:at], f"{scheme}://{path}", *words[at:], code=3)
    assert "holds no storage" in text
    assert not path.exists()


def test_a_directory_needs_no_start(tmp_path: Path) -> None:
    text = run("start", f"deker://{tmp_path}/x", "--data-dir", str(tmp_path), code=3)
    assert "start by themselves" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("status", "nonsense://x"),
        ("status", "/just/a/path"),
        ("start", "deker://h/x", "--data-dir", "relative"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deker_coordinator.cli.clusters.connect_ray", lambda _: None)
    assert "Error:" in run(*words, code=3)


@pytest.mark.parametrize(
    "words",
    [
        ("nothing",),
        ("status",),
        ("status", "file:///x", "more"),
        ("ls", "file:///x", "c", "--limit", "0"),
        ("tiles", "file:///x", "c", "a", "__import__('os')"),
        ("rebalance", "file:///x", "--pause", "--resume"),
        ("rebalance", "file:///x", "--rate", "fast"),
        ("rebalance", "file:///x", "--rate", "-1"),
        ("repair", "deker:///x", "--force"),
        ("repair", "deker:///x", "--no-wait"),
        ("drain", "deker:///x"),
        ("start", "deker://h/x"),
        ("start", "deker://h/x", "--data-dir", "/d", "--weight", "-1"),
        ("completion", "csh"),
    ],
    ids=lambda words: "-".join(words).replace("/", ""),
)
def test_wrong_usage(words: tuple[str, ...]) -> None:
    assert "Usage:" in run(*words, code=2)


def test_commands_that_read_the_registry_do_not_import_ray(client: Client, grid: VArray) -> None:
    uri = f"file://{client.root_path}"
    commands = [
        ("--help",),
        ("status", uri),
        ("status", f"deker://{client.root_path}"),
        ("collections", uri),
        ("describe", uri, "grids", grid.id),
        ("ls", uri, "grids"),
        ("tiles", uri, "grids", grid.id, "0"),
        ("show", uri, "grids", grid.id, ":"),
        ("locks", uri),
        ("rebalance", uri, "--resume"),
        ("gc", uri),
        ("doctor", uri),
        ("registry", "verify", uri),
        ("completion", "fish"),
    ]
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, json.dumps(commands)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert len(told) == len(commands)
    for words, code, ray, click_too in told:
        assert code == 0 or (code == 1 and words[0] == "doctor"), (words, ran.stderr)
        assert click_too
        assert not ray, words


def test_errors_are_one_line_or_one_document(
    client: Client, grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Any:
        raise ShardUnavailableError("shard 0 is away")

    monkeypatch.setattr("deker_coordinator.cli.catalogue.catalogue", away)
    uri = f"file://{client.root_path}"
    assert run("collections", uri, code=3) == "Error: shard 0 is away\n"
    done = CliRunner().invoke(main, ["collections", uri, "--json"])
    assert done.exit_code == 3
    assert json.loads(done.stdout) == {"error": "shard 0 is away"}
    assert done.stderr == "Error: shard 0 is away\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped("stopped")])
def test_ctrl_c_is_one_line(
    error: BaseException, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> Any:
        raise error

    monkeypatch.setattr("deker_coordinator.cli.catalogue.catalogue", stop)
    assert run("collections", f"file://{client.root_path}", code=130) == "stopped\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    script = run("completion", shell)
    assert "_DEKER_CLUSTER_COMPLETE" in script
    done = CliRunner().invoke(
        main,
        prog_name="deker-cluster",
        env={
            "_DEKER_CLUSTER_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": "deker-cluster reb",
            "COMP_CWORD": "1" if shell != "fish" else "reb",
        },
    )
    assert "rebalance" in done.output
