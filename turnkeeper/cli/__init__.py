"""`turnkeeper …`: the command line. `main` is the console script."""

from turnkeeper.cli.app import main

__all__ = ["main"]
