"""What is installed and what is imported: everything pinned by hash, nothing imported that no pin brings.

Whether a pin is known to be vulnerable is not asked here: that needs a database from the internet (`make audit`).
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
OURS: Final = {"turnkeeper", "workflows", "activities", "worker", "tests", "bench"}
SHIPPED: Final = ("turnkeeper", "workflows", "activities")
LICENCES: Final = re.compile(
    r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla Public License|0BSD|Unlicense", re.IGNORECASE
)
"""Licences that a wheel under MIT may depend on. MPL covers its own files alone."""

DRAWING: Final = "requirements-bench.txt"
"""What `make bench` installs beside the rest, to draw; not here where it is tested."""

PINS: Final = re.compile(r"^([A-Za-z0-9._-]+)==(\S+?)(?: ;[^\\]*)? ?\\$", re.MULTILINE)


@cache
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def pinned(file: str = "requirements-dev.txt") -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PINS.findall(_requirements(file))}


def _requirements(file: str) -> str:
    return (ROOT / file).read_text()


def declared() -> Iterator[Requirement]:
    """What the wheel asks for, extras included."""
    about = project()["project"]
    assert isinstance(about, dict)
    extras = [line for lines in about["optional-dependencies"].values() for line in lines]
    return (Requirement(line) for line in [*about["dependencies"], *extras])


def imported(file: Path) -> set[str]:
    """Top-level names that a file imports, at any depth of it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - OURS


def files(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


def distributions_of(names: set[str]) -> dict[str, set[str]]:
    known = packages_distributions()
    return {name: {canonicalize_name(found) for found in known.get(name, [])} for name in names}


@pytest.mark.parametrize(("file", "at_least"), [("requirements-dev.txt", 40), (DRAWING, 8)])
def test_every_requirement_is_pinned_with_a_hash(file: str, at_least: int) -> None:
    text = _requirements(file)
    blocks = [block for block in re.split(r"\n(?=\S)", text) if "==" in block.partition("\n")[0]]
    assert len(blocks) == len(pinned(file)) > at_least
    assert [block.partition("\n")[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert not re.search(r"https?://|git\+|file:|^-e|--index-url|--find-links", text, re.MULTILINE)


def test_what_draws_needs_no_other_version_of_what_is_pinned_already() -> None:
    shared = pinned().keys() & pinned(DRAWING).keys()
    assert {name: pinned(DRAWING)[name] for name in shared} == {name: pinned()[name] for name in shared}


def test_every_declared_dependency_is_among_the_pins_and_fits() -> None:
    for requirement in declared():
        version = pinned()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), (requirement, version)


def test_what_ships_imports_only_what_it_declares() -> None:
    allowed = {canonicalize_name(requirement.name) for requirement in declared()}
    # A package may re-export one that it requires itself; these two are part of what we declare.
    brought = {"h11", "protobuf", "pydantic-core"}
    used = set().union(*(imported(file) for file in [*files(*SHIPPED), ROOT / "worker.py"]))
    strangers = {name: found for name, found in distributions_of(used).items() if not found & (allowed | brought)}
    assert strangers == {}


def test_tests_import_nothing_that_no_pin_brings() -> None:
    draws = ROOT / "bench" / "plots.py"
    assert imported(draws) <= set(pinned(DRAWING))
    used = set().union(*(imported(file) for file in files("tests", "bench", "docs") if file != draws))
    strangers = {name: found for name, found in distributions_of(used).items() if not found & set(pinned())}
    assert strangers == {}


@pytest.mark.parametrize("name", sorted(pinned()))
def test_every_package_has_a_licence_that_fits(name: str) -> None:
    try:
        found = distribution(name)
    except ModuleNotFoundError:
        pytest.skip("of another platform")
    assert LICENCES.search(licence_of(found)), licence_of(found)[:200]


def licence_of(found: Distribution) -> str:
    about = found.metadata
    said = [text for key in ("License-Expression", "License", "Classifier") for text in about.get_all(key) or []]
    return " | ".join(text for text in said if text and ("License" in text or "::" not in text))


def test_the_node_packages_that_the_lock_resolved_carry_hashes() -> None:
    """The lock holds those of the platforms that it was made on; nothing there is run at installation."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    resolved = {name: about for name, about in packages.items() if name and "version" in about}
    assert "node_modules/opencode-ai" in resolved
    assert all(about["integrity"].startswith("sha512-") for about in resolved.values())
    assert "npm install --no-save --ignore-scripts" in (ROOT / "Makefile").read_text()
