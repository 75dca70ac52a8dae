"""Permission rules: which of an agent's permissions are answered without a person. Pure.

Patterns are OpenCode's own (read in 1.18.33): `*` is any text, `?` one character, and a last ` *` may be missing
altogether, so that `git *` is also `git`. Of several rules the first that matches decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper.messages import PermissionRule
from turnkeeper.observations import OpenRequest
from turnkeeper.vocabulary import PolicyAction


def action_for(rules: Sequence[PermissionRule], request: OpenRequest) -> PolicyAction:
    """What the rules do with a request. One target that is denied denies it all; allowed it is only as a whole."""
    if request.kind != "permission":
        return PolicyAction.ASK
    targets = request.patterns or ("",)
    actions = {_action(rules, request.permission, target) for target in targets}
    if PolicyAction.DENY in actions:
        return PolicyAction.DENY
    # What is not all known cannot be allowed by a rule.
    if actions == {PolicyAction.ALLOW} and not request.patterns_cut:
        return PolicyAction.ALLOW
    return PolicyAction.ASK


def matches(pattern: str, text: str) -> bool:
    """Does all of `text` match? In time of their product at worst: patterns come from callers, texts from an agent."""
    pattern, text = pattern.replace("\\", "/"), text.replace("\\", "/")
    if pattern.endswith(" *") and _glob(pattern[:-2], text):
        return True
    return _glob(pattern, text)


def _action(rules: Sequence[PermissionRule], permission: str, target: str) -> PolicyAction:
    for rule in rules:
        if matches(rule.permission, permission) and matches(rule.target, target):
            return rule.action
    return PolicyAction.ASK


def _glob(pattern: str, text: str) -> bool:
    """The usual greedy walk: on a mismatch let the last star take one character more."""
    at_pattern = at_text = star_text = 0
    star = -1
    while at_text < len(text):
        here = pattern[at_pattern] if at_pattern < len(pattern) else ""
        if here == "*":
            star, star_text = at_pattern, at_text
            at_pattern += 1
        elif here in {"?", text[at_text]}:
            at_pattern += 1
            at_text += 1
        elif star >= 0:
            star_text += 1
            at_pattern, at_text = star + 1, star_text
        else:
            return False
    return not pattern[at_pattern:].strip("*")
