"""How long a turn may stay wrong after each kind of fault, with the reason for it.

Seconds from the truth, or the end of the fault if that came later, to the settlement. The report says whether the 99th
percentile met them.
"""

from __future__ import annotations

from typing import Final

LOOK_INTERVAL: Final = 10.0
"""The product's default `look_interval`: what a turn that hears nothing waits before it looks by itself."""

UNTOUCHED: Final = 3.0
"""Nothing that settles a turn is away: an event, a look, and the 2 s between two readings that nothing runs."""

STREAM_LOST: Final = LOOK_INTERVAL + 2.0
"""Events are missing and the rest works: one look interval, and the second reading."""

WORKER_DIED: Final = 8.0
"""Another worker is up: the workflow's task is given to it after 5 s, an activity after its heartbeat timeout."""

PROVIDER_BACK: Final = 5.0
"""OpenCode is reachable again: the relay tries every second and then makes turns look; 2 s later the second reading."""

CALL_HANGS: Final = 5.0
"""The product's default `request_timeout`: a call into a wire that swallows it is given up so late."""

PROVIDER_THAWED: Final = CALL_HANGS + PROVIDER_BACK
"""A call that was swallowed while OpenCode was frozen, or its wire half-open, is given up before the next one."""

PROVIDER_LIED: Final = STREAM_LOST
"""The last answer that was read is unknown, an error or a lie: the next look is by the clock."""

TEMPORAL_BACK: Final = 8.0
"""Temporal is reachable again: workers reconnect within 5 s, and what they held is given out again."""

STOP_TOLD: Final = 15.0
"""From a person's stop to confirmed or unconfirmed: the grace of 12 s, and one last call."""
