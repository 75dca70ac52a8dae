"""OpenCode 1.x as a provider of turns; the only package that knows how OpenCode speaks.

From the outside in: `driver` (the verbs of a turn, each a report that never raises for the provider's trouble) and
`stream` (events that only wake) stand on `client` (one method a call) and `connection` (HTTP, bounded, its errors
mapped once by `answers`). What the answers mean is decided by pure modules: `assess` with `family`, `evidence` and
`failures` for one reading, `translate` with `frames`, `heads` and `marks` for events.
"""
