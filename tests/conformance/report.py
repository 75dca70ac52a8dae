"""Write docs/conformance.md: `python -m tests.conformance.report`. Exits 1 when a row is not what the suite says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from tests.conformance.rows import load_rows
from tests.conformance.suite import Result, Verdict, run_rows
from tests.conformance.table import lines, page, summary
from tests.workflow.server import skipping

PAGE: Final = Path(__file__).parents[2] / "docs" / "conformance.md"


async def run() -> list[Verdict]:
    async with skipping() as server:
        return list((await run_rows(server, load_rows())).values())


def main() -> int:
    """Run all rows and write what became of them."""
    verdicts = asyncio.run(run())
    broken = [verdict for verdict in verdicts if verdict.result is Result.BROKEN]
    sys.stdout.write("".join(f"{line}\n" for line in lines(broken)) + f"{summary(verdicts)}\n")
    if broken:
        return 1
    PAGE.write_text(page(verdicts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
