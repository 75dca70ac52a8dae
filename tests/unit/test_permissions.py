"""Permission rules: patterns as OpenCode reads them, the first match wins, and nothing is allowed by accident."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.messages import PermissionRule
from turnkeeper.observations import OpenRequest
from turnkeeper.permissions import action_for, matches
from turnkeeper.vocabulary import PolicyAction

ALLOW: Final = PolicyAction.ALLOW
ASK: Final = PolicyAction.ASK
DENY: Final = PolicyAction.DENY


def rule(permission: str, action: PolicyAction, target: str = "*") -> PermissionRule:
    return PermissionRule(permission=permission, target=target, action=action)


def asks_for(permission: str, *patterns: str, cut: bool = False) -> OpenRequest:
    return OpenRequest(
        request_id="per_1",
        kind="permission",
        session_id="ses_1",
        title="?",
        permission=permission,
        patterns=patterns,
        patterns_cut=cut,
    )


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("bash", "bash", True),
        ("bash", "bashful", False),
        ("*", "", True),
        ("git *", "git status", True),
        ("git *", "git", True),
        ("git *", "github", False),
        ("git*", "github", True),
        ("*.env", "/srv/.env", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("echo *", "echo one\ntwo", True),
        ("[ab]", "a", False),
        ("C:/shop/*", "C:\\shop\\file", True),
        ("", "", True),
        ("", "x", False),
    ],
)
def test_a_pattern(pattern: str, text: str, *, expected: bool) -> None:
    assert matches(pattern, text) is expected


def as_opencode_does(pattern: str, text: str) -> bool:
    """What 1.18.33 does, as a regular expression (which a hostile pattern can make take for ever)."""
    escaped = re.sub(r"[.+^${}()|\[\]\\]", r"\\\g<0>", pattern.replace("\\", "/")).replace("*", ".*").replace("?", ".")
    if escaped.endswith(" .*"):
        escaped = escaped[:-3] + "( .*)?"
    return re.fullmatch(escaped, text.replace("\\", "/"), re.DOTALL) is not None


@given(st.text(alphabet="ab *?./\\[", max_size=8), st.text(alphabet="ab ./\\[\n", max_size=10))
def test_patterns_mean_what_they_mean_to_opencode(pattern: str, text: str) -> None:
    assert matches(pattern, text) is as_opencode_does(pattern, text)


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not matches("*a" * 200, "a" * 150 + "b" * 5000)


def test_the_first_match_wins() -> None:
    rules = (rule("bash", DENY, "rm *"), rule("bash", ALLOW), rule("*", ASK))
    assert action_for(rules, asks_for("bash", "rm -rf build")) is DENY
    assert action_for(rules, asks_for("bash", "ls")) is ALLOW
    assert action_for(rules, asks_for("edit", "/etc/passwd")) is ASK


def test_what_no_rule_matches_is_asked() -> None:
    assert action_for((), asks_for("bash", "ls")) is ASK
    assert action_for((rule("edit", ALLOW),), asks_for("a-permission-of-tomorrow", "x")) is ASK


def test_every_target_has_to_be_allowed_and_one_denied_is_enough() -> None:
    rules = (rule("bash", ALLOW, "git *"), rule("bash", DENY, "rm *"))
    assert action_for(rules, asks_for("bash", "git add", "git push")) is ALLOW
    assert action_for(rules, asks_for("bash", "git add", "make")) is ASK
    assert action_for(rules, asks_for("bash", "make", "rm x")) is DENY


def test_what_is_not_all_known_is_never_allowed() -> None:
    rules = (rule("bash", DENY, "rm *"), rule("*", ALLOW))
    assert action_for(rules, asks_for("bash", "ls", cut=True)) is ASK
    assert action_for(rules, asks_for("bash", "rm x", cut=True)) is DENY


def test_a_permission_for_nothing_in_particular() -> None:
    assert action_for((rule("doom_loop", ALLOW),), asks_for("doom_loop")) is ALLOW
    assert action_for((rule("bash", ALLOW, "git *"),), asks_for("bash")) is ASK


def test_no_rule_answers_a_question() -> None:
    question = OpenRequest(request_id="que_1", kind="question", session_id="ses_1", title="?")
    assert action_for((rule("*", ALLOW),), question) is ASK


RULES = st.builds(
    PermissionRule,
    permission=st.sampled_from(["bash", "edit", "*", "b*"]),
    target=st.sampled_from(["*", "git *", "rm *", "?"]),
    action=st.sampled_from(PolicyAction),
)


@given(st.lists(RULES, max_size=6), st.lists(st.sampled_from(["git", "rm x", "ls", "a"]), max_size=4))
def test_more_targets_never_make_an_answer_kinder(rules: list[PermissionRule], targets: list[str]) -> None:
    kinder = [DENY, ASK, ALLOW]
    whole = action_for(rules, asks_for("bash", *targets))
    assert all(kinder.index(whole) <= kinder.index(action_for(rules, asks_for("bash", one))) for one in targets)
