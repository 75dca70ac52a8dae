"""Which view fits the place that is written to."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from turnkeeper.cli.json_lines import JsonView
from turnkeeper.cli.live import LiveView
from turnkeeper.cli.plain import PlainView
from turnkeeper.cli.views import View


def choose_view(*, as_json: bool, stops: bool = True) -> View:
    """JSON when asked for, live on a terminal that can move its cursor, plain lines everywhere else.

    `stops`: what the live view says about Ctrl-C.
    """
    if as_json:
        return JsonView(sys.stdout)
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveView(Console(file=sys.stdout), stops=stops)
    return PlainView(sys.stdout)
