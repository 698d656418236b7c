"""The image of `deploy/`, and the scripts that go into it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.packaging.test_wheel import run

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

INSTRUCTIONS = {
    "ARG",
    "FROM",
    "RUN",
    "COPY",
    "ENV",
    "USER",
    "WORKDIR",
    "VOLUME",
    "ENTRYPOINT",
    "CMD",
}


def instructions() -> list[tuple[str, str]]:
    lines = [
        line
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in whole]


def test_the_dockerfile() -> None:
    found = instructions()
    assert {name for name, _ in found} <= INSTRUCTIONS
    of = dict(found)  # the last of each
    assert of["USER"] == "10001:10001"  # never root, and a number: Kubernetes checks it
    assert json.loads(of["ENTRYPOINT"]) == ["deker-cluster"]
    assert "deker-cluster" in PROJECT["scripts"]
    (base,) = [value for name, value in found if name == "ARG"]
    assert re.fullmatch(r"BASE=docker\.io/library/python:3\.\d+-slim-\w+", base)
    for value in (value for name, value in found if name == "FROM"):
        assert value.startswith("${BASE}")
    for value in (value for name, value in found if name == "COPY"):
        sources = [word for word in value.split()[:-1] if not word.startswith("--")]
        assert all((ROOT / source).exists() for source in sources), value


def test_the_image_is_built_from_what_is_let_in(tmp_path: Path) -> None:
    """The wheel of the image, from just the files that .dockerignore lets through."""
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    source = tmp_path / "source"
    for name in allowed:
        start, end = ROOT / name, source / name
        assert start.exists(), name
        end.parent.mkdir(parents=True, exist_ok=True)
        if start.is_dir():
            shutil.copytree(start, end, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(start, end)
    for _, value in (each for each in instructions() if each[0] == "COPY"):
        for word in value.split()[:-1]:
            assert word == "." or word in allowed
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run([*build, "--outdir", tmp_path / "dist", source], cwd=tmp_path)
    assert len(list((tmp_path / "dist").glob("*.whl"))) == 1


def pinned() -> dict[str, str]:
    lines = (DEPLOY / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return dict(pairs)


def test_every_dependency_is_pinned_to_what_the_project_takes() -> None:
    versions = pinned()
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[wanted.name.lower()]), text
    assert {
        "aiohttp",
        "hatchling",
        "build",
    } <= versions.keys()  # of ray[default], and the builder's
    (cluster, _) = yaml.safe_load_all((DEPLOY / "kubernetes" / "raycluster.yaml").read_text())
    assert cluster["spec"]["rayVersion"] == versions["ray"]


def test_the_shell_script_parses() -> None:
    run(["sh", "-n", DEPLOY / "registry" / "start.sh"], cwd=ROOT)
    assert os.access(DEPLOY / "registry" / "start.sh", os.X_OK)


def test_mistakes_of_the_script_that_waits() -> None:
    for words in ([], ["3"], ["three", "true"]):
        with pytest.raises(AssertionError, match="usage: wait_for_nodes"):
            run([sys.executable, DEPLOY / "wait_for_nodes.py", *words], cwd=ROOT)
