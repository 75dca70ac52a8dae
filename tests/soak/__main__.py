"""`python -m tests.soak`: play the mixed load with faults for so long, and print what grew.

Exit code 1 when a figure grew, a turn was not judged right, or something was left over.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.soak.report import problems, summary, table
from tests.soak.soak import soak


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="of load (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of stories, faults and their moments (default: 0)")
    parser.add_argument(
        "--keep", type=Path, help="directory for samples, logs and databases, kept (default: a temporary one)"
    )
    return parser.parse_args()


def main() -> int:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="turnkeeper-soak-") as temporary:
        directory = (options.keep or Path(temporary)).resolve()
        seen = asyncio.run(soak(directory, options.minutes * 60, options.seed))
    sys.stdout.write(f"\n{table(seen)}\n\n")
    for line in summary(seen):
        sys.stdout.write(f"{line}\n")
    found = problems(seen)
    for line in found:
        sys.stdout.write(f"PROBLEM: {line}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
