"""Where the OpenCode program is on this machine."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from turnkeeper.dev.errors import BinaryMissingError

CHECKOUT: Final = Path(__file__).resolve().parents[2]
"""The folder that holds `node_modules` when Turnkeeper runs from a checkout."""
PINNED: Final = "1.18.33"
"""The version every fact in this package was measured with."""
_PACKAGE: Final = "opencode-ai"
_ARCHITECTURES: Final = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def find_opencode(explicit: Path | None = None, *, checkout: Path = CHECKOUT, search_path: str | None = None) -> Path:
    """The named program, or the first of PATH, or the one that `npm install` put into the checkout.

    npm's `opencode` on PATH may be a script that starts the real program as its child, which a kill -9 would leave
    behind; so the real one, in the platform's package beside it, is preferred.

    Raises:
        BinaryMissingError: says how to install it.
    """
    if explicit is not None:
        if explicit.is_file():
            return explicit
        raise BinaryMissingError(f"The OpenCode program that was named, {explicit}, is not a file.")
    on_path = shutil.which("opencode", path=search_path)
    if on_path is not None:
        linked = Path(on_path).resolve()
        packages = [folder for folder in linked.parents if folder.name == _PACKAGE]
        return next(_platform_programs(packages), linked)
    bundled = next(_platform_programs([checkout / "node_modules" / _PACKAGE]), None)
    if bundled is None:
        raise BinaryMissingError(
            "OpenCode is not installed: no opencode on PATH, none in node_modules of this checkout. "
            f"Install it with: npm install -g {_PACKAGE}@{PINNED} (in a checkout: make env)."
        )
    return bundled


def _platform_programs(packages: Iterable[Path]) -> Iterator[Path]:
    """The platform's package lies beside `opencode-ai`, or inside its own node_modules."""
    for package in packages:
        for folder in (package.parent, package / "node_modules"):
            for name in _package_names():
                program = folder / name / "bin" / "opencode"
                if program.is_file():
                    yield program


def _package_names() -> Iterator[str]:
    """Best first. The plain x64 build needs AVX2 and dies of SIGILL without it; `baseline` does not."""
    system = "darwin" if sys.platform == "darwin" else "linux"
    architecture = _ARCHITECTURES.get(platform.machine().lower(), platform.machine())
    plain = f"opencode-{system}-{architecture}"
    builds = [plain, f"{plain}-baseline"] if _has_avx2() else [f"{plain}-baseline", plain]
    musl = system == "linux" and any(Path("/lib").glob("ld-musl-*"))
    for build in builds:
        yield f"{build}-musl" if musl else build


def _has_avx2() -> bool:
    try:
        return "avx2" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux: Apple's x64 machines of the last ten years have it
        return True
