"""Tables and plots of docs/performance.md, from the kept results alone: python -m bench.report [--check].

Each benchmark has a place in the document, between two comment lines; a file in `bench/results/` fills it, and without
one it stays as it is. The words around the places are written by hand. `--check` writes nothing and says which places
are stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from bench.results import RESULTS, Results
from tests.chaos.report import put_between

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "performance.md"
IMAGES: Final = "images"
"""Beside the document: what `bench.plots` drew."""

Report = Callable[[Results], str]


def markers(name: str) -> tuple[str, str]:
    """The lines around a benchmark's place."""
    return f"<!-- {name}: begin, written by bench.report -->", f"<!-- {name}: end -->"


def kept(directory: Path) -> dict[str, Results]:
    """By benchmark."""
    found = (Results.read(file) for file in sorted(directory.glob("*.json")))
    return {results.bench: results for results in found}


def reports(names: Mapping[str, Results]) -> dict[str, Report]:
    """Each benchmark's own table."""
    return {name: import_module(f"bench.{name}").report for name in names}


def origin(results: Results) -> str:
    """When and on what it was measured."""
    place = results.place
    where = f"{place.cores} cores, {place.system}, Python {place.python}, temporalio {place.temporalio}"
    return f"{results.taken_at}; {where}; load {place.load:g} at the end."


def section(results: Results, report: Report, image: Path | None) -> str:
    """What stands in a benchmark's place. `image`: its plot, if there is one."""
    parts = [origin(results), report(results)]
    if image is not None:
        parts.append(f"![{results.bench}]({IMAGES}/{image.name})")
    return "\n\n".join(parts) + "\n"


def written(document: str, results: Mapping[str, Results], by: Mapping[str, Report], images: Path) -> str:
    """The document with all of them in their places.

    Raises:
        ValueError: it has no place for one.

    """
    for name, found in results.items():
        image = images / f"{name}.png"
        text = section(found, by[name], image if image.exists() else None)
        document = put_between(document, *markers(name), text)
    return document


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of NAME.json (default: bench/results)")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="(default: docs/performance.md)")
    parser.add_argument("--check", action="store_true", help="only say whether it is stale")
    options = parser.parse_args()
    results = kept(options.results)
    before = options.document.read_text()
    after = written(before, results, reports(results), options.document.parent / IMAGES)
    if options.check:
        print("stale: run python -m bench.report" if after != before else "as the results say")
        return int(after != before)
    options.document.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
