"""The files of `deploy/`: what they name exists, they agree with each other, and hold no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from deker_coordinator.cli import main

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
YAML = [path for path in FILES if path.suffix == ".yaml"]


def named(path: Path) -> str:
    return path.relative_to(DEPLOY).as_posix()


def strings_of(node: Any) -> list[list[str]]:
    """Every list of strings below a node: commands are such."""
    if isinstance(node, dict):
        return [found for value in node.values() for found in strings_of(value)]
    if isinstance(node, list):
        if node and all(isinstance(each, str) for each in node):
            return [node]
        return [found for value in node for found in strings_of(value)]
    return []


@pytest.mark.parametrize("path", YAML, ids=named)
def test_yaml_loads(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    assert documents
    assert all(isinstance(document, dict) for document in documents)


# Commands of ours, wherever they stand.


def command_lines(path: Path) -> list[list[str]]:
    """What follows `deker-cluster` in a file, up to the end of the command."""
    if path.suffix == ".yaml":
        lists = [
            words
            for document in yaml.safe_load_all(path.read_text())
            for words in strings_of(document)
        ]
        lines = [
            words[words.index("deker-cluster") + 1 :] for words in lists if "deker-cluster" in words
        ]
        if lines:
            return lines
    text = path.read_text().replace("\\\n", " ")
    found = re.findall(r"\bdeker-cluster((?:[ ]+(?!#)[^\s`'\"|;]+)+)", text)
    return [line.split() for line in found]


def check_command(words: list[str]) -> None:
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        assert words, f"{command.name} needs a command"
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {' '.join(words)!r}"
        command, words = found, words[1:]
    known = {name for parameter in command.params for name in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{command.name} has no option {word}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_commands_exist(path: Path) -> None:
    for words in command_lines(path):
        check_command(words)


def test_commands_are_found_at_all() -> None:
    lines = {named(path): command_lines(path) for path in FILES}
    for name in ("compose.yaml", "kubernetes/start.yaml", "systemd/deker-start.service"):
        assert lines[name][0][:2] == ["start", "--data-dir"]
    assert lines["kubernetes/restore.yaml"][0][:2] == ["registry", "rebuild"]
    assert {words[0] for words in lines["README.md"]} >= {"status", "drain", "doctor", "registry"}
    with pytest.raises(AssertionError, match="no command"):
        check_command(["stat"])
    with pytest.raises(AssertionError, match="no option"):
        check_command(["start", "--data-folder", "x"])


# Ray's own options: `ray start` is called in four ways.


def ray_options() -> set[str]:
    from ray.scripts.scripts import start

    return {name for parameter in start.params for name in parameter.opts}


def test_options_of_ray_exist() -> None:
    known = ray_options()
    used = set()
    for path in FILES:
        text = path.read_text().replace("\\\n", " ")
        for line in re.findall(r"\bray start((?: +\S+)+)", re.sub(r"\n +(?=--)", " ", text)):
            used |= {word.partition("=")[0] for word in line.split() if word.startswith("--")}
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        if service.get("entrypoint", [])[:2] == ["ray", "start"]:
            words = [*service["entrypoint"], *service.get("command", [])]
            used |= {word.partition("=")[0] for word in words if word.startswith("--")}
    for path in (DEPLOY / "kubernetes").glob("raycluster.yaml"):
        (cluster, _) = yaml.safe_load_all(path.read_text())
        spec = cluster["spec"]
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            used |= {f"--{name}" for name in group["rayStartParams"]}
    assert {"--labels", "--head", "--num-cpus"} <= used
    assert used - known == set()


# Secrets.

SECRETS = {
    "a password in a configuration": r"(?m)^\s*(?:requirepass|masterauth)\s+\S",
    "a password of a user": r"(?m)^\s*user .*\s>\S",
    "a password, token or secret": r"(?i)(?:password|token|secret|passwd)[ \t]*[:=][ \t]*['\"]?"
    r"[a-z0-9][a-z0-9+/_=-]{7,}",
    "a password in an address": r"deker://[^:@/\s]*:(?!PASSWORD@|\$)[^@\s]+@",
    "a digest or a key": r"\b[0-9a-f]{32,}\b",
    "a private key": r"BEGIN [A-Z ]*PRIVATE KEY",
}


def secrets_in(text: str) -> list[str]:
    return [what for what, pattern in SECRETS.items() if re.search(pattern, text)]


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_secret_is_in_any_file(path: Path) -> None:
    text = path.read_text()
    # Of mere names, not values.
    text = re.sub(r"(?:RAY_AUTH_MODE|AUTH_MODE)[=:] ?token", "", text)
    assert secrets_in(text) == []
    if path.suffix == ".yaml":
        kinds = [each.get("kind") for each in yaml.safe_load_all(text)]
        assert "Secret" not in kinds


@pytest.mark.parametrize(
    "text",
    [
        "requirepass hunter2",
        "user deker on >hunter2 +@all",
        "REGISTRY_PASSWORD=correcthorse",
        "RAY_AUTH_TOKEN: 'abcdefgh1'",
        "deker://deker:hunter2@registry:6379/prod",
        "#" + "0123456789abcdef" * 4,
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_a_secret_would_be_found(text: str) -> None:
    assert secrets_in(text) != []


def test_links_lead_somewhere_and_files_are_mentioned() -> None:
    readme = (DEPLOY / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)", readme):
        assert "://" in link or (DEPLOY / link).exists(), link
    for name in re.findall(r"`((?:registry|systemd|kubernetes)/[\w.-]+\.\w+)`", readme):
        assert (DEPLOY / name).exists(), name
