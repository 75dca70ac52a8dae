"""What ships starts no shell, runs no text as code, and loads no object from bytes: read in its source, not hoped for.

Ruff's S rules warn of calls with suspicious arguments and can be switched off where they stand. This is about names, is
switched off nowhere, and allows programs to be started in three files.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SHIPPED: Final = sorted(
    [
        ROOT / "worker.py",
        *(file for folder in ("turnkeeper", "workflows", "activities") for file in (ROOT / folder).rglob("*.py")),
    ]
)
MAY_START_PROGRAMS: Final = {
    "turnkeeper/dev/die_with_parent.py",  # becomes the program that it was given, by an argument list
    "turnkeeper/dev/processes.py",  # the embedded stack: Temporal, OpenCode, a worker, by argument lists
    "turnkeeper/dev/stack_state.py",  # asks `ps` about one process number
}
"""All of them belong to the embedded stack; no worker of an operator's own imports them."""

CODE_FROM_TEXT: Final = {"eval", "exec", "compile", "__import__", "breakpoint"}
FORBIDDEN_MODULES: Final = {"pickle", "shelve", "marshal", "dill", "cloudpickle", "jsonpickle", "pty", "code", "runpy"}
PROGRAMS: Final = {"subprocess", "multiprocessing"}
FORBIDDEN_CALLS: Final = {
    "os.system",
    "os.popen",
    "asyncio.create_subprocess_shell",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "tempfile.mktemp",
    "ssl._create_unverified_context",
}
STARTING: Final = ("os.exec", "os.spawn", "os.posix_spawn", "os.fork", "asyncio.create_subprocess_")


def findings(tree: ast.AST, *, may_start_programs: bool = False) -> Iterator[str]:
    """What is forbidden in the source, by line."""
    names = dict(_imported(tree))
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=imported):
                yield from (
                    f"{node.lineno}: import {a.name}" for a in imported if _bad_module(a.name, may_start_programs)
                )
            case ast.ImportFrom(module=str(module)) if _bad_module(module, may_start_programs):
                yield f"{node.lineno}: from {module}"
            case ast.Call(func=function, keywords=keywords):
                called = _dotted(function, names)
                if called in CODE_FROM_TEXT or called in FORBIDDEN_CALLS:
                    yield f"{node.lineno}: {called}"
                if called.startswith(STARTING) and not may_start_programs:
                    yield f"{node.lineno}: {called}"
                yield from (f"{node.lineno}: {k.arg}" for k in keywords if _bad_argument(k))


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What a name stands for."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=imported):
                yield from ((alias.asname or alias.name, alias.name) for alias in imported)
            case ast.ImportFrom(module=str(module), names=imported):
                yield from ((alias.asname or alias.name, f"{module}.{alias.name}") for alias in imported)
            case _:
                pass


def _bad_module(name: str, may_start_programs: bool) -> bool:  # noqa: FBT001 - one caller, right above
    root = name.partition(".")[0]
    return root in FORBIDDEN_MODULES or (root in PROGRAMS and not may_start_programs)


def _bad_argument(keyword: ast.keyword) -> bool:
    """`shell=` with anything but False, `verify=False`."""
    value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
    return (keyword.arg == "shell" and value is not False) or (keyword.arg == "verify" and value is False)


def _dotted(function: ast.expr, names: dict[str, str]) -> str:
    match function:
        case ast.Name(id=name):
            return names.get(name, name)
        case ast.Attribute(value=inner, attr=attribute):
            return f"{_dotted(inner, names)}.{attribute}"
        case _:
            return ""


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_that_ships_runs_text_or_a_shell(file: Path) -> None:
    allowed = str(file.relative_to(ROOT)) in MAY_START_PROGRAMS
    assert list(findings(ast.parse(file.read_text()), may_start_programs=allowed)) == []


def test_the_list_of_exceptions_is_not_longer_than_it_must_be() -> None:
    for name in MAY_START_PROGRAMS:
        assert list(findings(ast.parse((ROOT / name).read_text()))), name


@pytest.mark.parametrize(
    "source",
    [
        "import os; os.system('ls')",
        "from os import popen as p; p('ls')",
        "import asyncio; asyncio.create_subprocess_shell('ls')",
        "import asyncio as a; a.create_subprocess_exec('ls')",
        "import os as o; o.execvp('ls', [])",
        "import subprocess",
        "import subprocess as s",
        "from subprocess import run",
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "import builtins; exec('1')",
        "import yaml; yaml.load('a')",
        "start(shell=True)",
        "start(shell=wanted)",
        "Client(verify=False)",
    ],
)
def test_the_reader_sees_what_it_is_for(source: str) -> None:
    assert list(findings(ast.parse(source)))


@pytest.mark.parametrize("source", ["import re; re.compile('a')", "start(shell=False)", "await_.exec_module(a)"])
def test_and_nothing_else(source: str) -> None:
    assert list(findings(ast.parse(source))) == []


def test_a_worker_imports_none_of_the_files_that_start_programs() -> None:
    reached = {ROOT / "worker.py"}
    todo = list(reached)
    while todo:
        for name in modules_of(todo.pop()):
            for file in (ROOT / f"{name}.py", ROOT / name / "__init__.py"):
                if file in SHIPPED and file not in reached:
                    reached.add(file)
                    todo.append(file)
    assert len(reached) > 50
    assert {str(file.relative_to(ROOT)) for file in reached} & MAY_START_PROGRAMS == set()


def modules_of(file: Path) -> set[str]:
    """Paths of the modules that a file imports, as far as they could be ours."""
    found = {name for _, name in _imported(ast.parse(file.read_text()))}
    parts = {tuple(name.split(".")) for name in found}
    return {"/".join(part[:length]) for part in parts for length in range(1, len(part) + 1)}
