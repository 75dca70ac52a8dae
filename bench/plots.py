"""The curves of docs/performance.md, from the kept results alone: python -m bench.plots.

Drawn where a curve says more than a table. The only module that needs matplotlib (`requirements-bench.txt`;
`make bench` installs it).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.recovery import QUANTILES
from bench.report import DOCUMENT, IMAGES, kept
from bench.results import RESULTS, Results

SIZE: Final = (7.0, 3.6)
"""Inches: the width of a page of text."""

DPI: Final = 110
"""Sharp enough for a page, some 40 kB a plot."""

BARE: Final = "0.55"
OURS: Final = "#1f6feb"
"""The baseline is grey, Turnkeeper blue."""

Draw = Callable[[Axes, Results], None]


def turn_overhead(axes: Axes, results: Results) -> None:
    """Ratio of medians by turns at once, one line a kind of turn."""
    for kind in dict.fromkeys(row["turn"] for row in results.rows):
        rows = [row for row in results.rows if row["turn"] == kind]
        ratios = [row["durable"]["total"] / row["bare"]["total"] for row in rows]
        axes.plot([row["at_once"] for row in rows], ratios, marker="o", label=f"turn: {kind}")
    axes.axhline(1, color=BARE, label="bare script")
    _log_ticks(axes, sorted({row["at_once"] for row in results.rows}))
    axes.set(xlabel="turns at once", ylabel="median, Turnkeeper / bare", ylim=(0.9, None))


def peer(axes: Axes, results: Results) -> None:
    """Bytes received from OpenCode over the long turn."""
    curve = results.rows[0]["curve"]
    minutes = [seconds / 60 for seconds, _, _ in curve]
    axes.plot(minutes, [polled / 1e6 for _, polled, _ in curve], color=BARE, label="polling the list every 1.5 s")
    axes.plot(minutes, [ours / 1e6 for _, _, ours in curve], color=OURS, label="Turnkeeper")
    axes.set(xlabel="minutes of the turn", ylabel="MB received from OpenCode so far")


def recovery(axes: Axes, results: Results) -> None:
    """Share of turns settled by seconds after the truth or the fault's end."""
    shares = [100 * step / QUANTILES for step in range(QUANTILES + 1)]
    for row in results.rows:
        if row["n"]:
            whole = row["family"] == "all"
            look = {"color": "black", "linewidth": 2.0} if whole else {"linewidth": 1.0}
            axes.step([late + 0.01 for late in row["quantiles"]], shares, where="post", label=row["family"], **look)
    axes.set(xscale="log", xlabel="seconds late (10 ms added, for the logarithm)", ylabel="% of turns settled")


def throughput(axes: Axes, results: Results) -> None:
    """Turns a second by worker processes."""
    workers = [row["workers"] for row in results.rows]
    for side, label, colour in (("floor", "empty workflows, same steps", BARE), ("durable", "Turnkeeper", OURS)):
        axes.plot(workers, [row[side]["per_second"] for row in results.rows], marker="o", color=colour, label=label)
    axes.set(xlabel="worker processes", ylabel="turns a second", xticks=workers, ylim=(0, None))


def history(axes: Axes, results: Results) -> None:
    """History events of a turn by tokens, beside what OpenCode said."""
    rows = [row for row in results.rows if row["what"] == "tokens"]
    tokens = [row["amount"] for row in rows]
    for side, label, colour in (("provider", "OpenCode's events", BARE), ("turn", "history events of the turn", OURS)):
        axes.plot(tokens, [row[side]["events"] for row in rows], marker="o", color=colour, label=label)
    _log_ticks(axes, tokens)
    axes.set(xlabel="tokens of the turn", ylabel="events", yscale="log")


def memory(axes: Axes, results: Results) -> None:
    """Resident memory of a worker by what is open, one line a worker."""
    rows = [row for row in results.rows if not row["looks"]]
    for what, cache in dict.fromkeys((row["what"], row["cache"]) for row in rows):
        line = [row for row in rows if (row["what"], row["cache"]) == (what, cache)]
        label = f"{what}s, cache of {cache:,}"
        axes.plot([row["open"] for row in line], [row["rss_mb"] for row in line], marker="o", label=label)
    axes.set(xlabel="open at once", ylabel="resident MB of the worker", ylim=(0, None))


PLOTS: Final[Mapping[str, Draw]] = {
    "turn_overhead": turn_overhead,
    "throughput": throughput,
    "history": history,
    "memory": memory,
    "peer": peer,
    "recovery": recovery,
}


def draw(results: Results, file: Path) -> None:
    """One plot, as a PNG that says nothing about where it was drawn."""
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    PLOTS[results.bench](axes, results)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Software": None})


def _log_ticks(axes: Axes, values: list[Any]) -> None:
    """A logarithmic axis that names the values that were measured."""
    axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:,}" for value in values], minor=False)
    axes.minorticks_off()


def main() -> None:
    """Draw all that have results."""
    parser = argparse.ArgumentParser(prog="python -m bench.plots", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of NAME.json (default: bench/results)")
    parser.add_argument("--images", type=Path, default=DOCUMENT.parent / IMAGES, help="(default: docs/images)")
    options = parser.parse_args()
    options.images.mkdir(exist_ok=True)
    mpl.rcParams["font.size"] = 9
    for name, results in kept(options.results).items():
        if name in PLOTS:
            draw(results, options.images / f"{name}.png")


if __name__ == "__main__":
    main()
