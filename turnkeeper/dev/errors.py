"""What can go wrong while the embedded stack starts or runs. One line each: whose fault, what to do next."""

from __future__ import annotations

from typing import ClassVar


class EmbeddedStackError(Exception):
    """Base of this package. `str(error)` is one line a person can act on; it never holds a secret."""

    code: ClassVar[str] = "embedded_stack"


class BinaryMissingError(EmbeddedStackError):
    """A program the stack runs is not installed where we look."""

    code = "binary_missing"


class PortInUseError(EmbeddedStackError):
    """A port that was asked for by number is taken."""

    code = "port_in_use"


class ProcessFailedError(EmbeddedStackError):
    """A child process ended by itself, or was not ready before its deadline. Carries the end of its log."""

    code = "process_failed"


class StateDirectoryError(EmbeddedStackError):
    """The state directory cannot be made or used."""

    code = "state_directory"


class StackHeldError(EmbeddedStackError):
    """Another living stack owns the state directory."""

    code = "stack_held"


class StackNotFoundError(EmbeddedStackError):
    """No stack runs on the state directory, or its state file cannot be read."""

    code = "stack_not_found"


class ScriptError(EmbeddedStackError):
    """A plan for the scripted model is wrong. Names the step, what is wrong and what is allowed."""

    code = "bad_script"
