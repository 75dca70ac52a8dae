"""Whatever a provider sends, it is refused or read: a few hundred mutations of recorded traffic, and all found before.

`make fuzz SECONDS=600` goes on for longer, and keeps what breaks a rule where these tests play it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.fuzzing import CHECKS, CORPUS, judge, one, seeds

FOUND = sorted(CORPUS.iterdir())
SAMPLE = 60  # inputs of each kind: a few seconds


@pytest.mark.parametrize("target", CHECKS)
def test_what_is_recorded_keeps_the_rules(target: str) -> None:
    assert seeds(target)
    for data in seeds(target):
        judge(target, data)


@pytest.mark.parametrize("target", CHECKS)
def test_mutations_keep_them_too(target: str) -> None:
    for number in range(SAMPLE):
        judge(target, one(target, number))


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.name)
def test_what_broke_a_rule_once_does_not_again(file: Path) -> None:
    judge(file.name.partition("-")[0], file.read_bytes())


ENDLESS_COST = b"""[
    {"info": {"id": "m", "role": "user"}}, {"info": {"id": "a", "role": "assistant", "parentID": "m", "cost": 1e999}}
]"""
HALF_A_CHARACTER_AS_THREAD = b"""{"payload": {"id": "e", "type": "session.updated", "properties": {"info":
    {"id": "ses_1", "metadata": {"turnkeeper": {"thread": "\\ud800", "namespace": "default"}}}}}}"""


@pytest.mark.parametrize(
    ("target", "data"),
    [
        ("frame", b'{"payload":{"id":"e","type":"session.idle"}}'),
        ("frame", b"[" * 100_000),
        ("frame", HALF_A_CHARACTER_AS_THREAD),
        ("messages", ENDLESS_COST),
        ("messages", b'[{"info":{"id":"m","role":"user","time":{"created":Infinity}}}]'),
        ("answer", b'{"data":{"message":"\\ud800 \\u001b[2J"}}'),
    ],
)
def test_named_examples(target: str, data: bytes) -> None:
    judge(target, data)
