"""What an assessment tells besides the standing, and the rules that no recording shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.recordings import load, states
from turnkeeper.observations import NotThere, Seen
from turnkeeper.opencode.assess import ChildSession, Snapshot, assess
from turnkeeper.opencode.wire import Message, PermissionRequest, StatusEntry
from turnkeeper.vocabulary import Fault, Standing

TEXT_LIMIT: Final = 1000
FIVE_TOKENS: Final = "tok0 tok1 tok2 tok3 tok4 "
RUNNING, WAITING, HALTED = Standing.RUNNING, Standing.WAITING, Standing.HALTED
SUCCEEDED, ABORTED, REFUSED, ABSORBED = Standing.SUCCEEDED, Standing.ABORTED, Standing.REFUSED, Standing.ABSORBED


def seen(snapshot: Snapshot, prompt: str) -> Seen:
    found = assess(snapshot, prompt, TEXT_LIMIT)
    assert isinstance(found, Seen)
    return found


def history(case: str) -> list[Seen]:
    prompt = load(case).prompts[0]
    found = (assess(snapshot, prompt, TEXT_LIMIT) for _, snapshot in states(case))
    return [one for one in found if isinstance(one, Seen)]


def waits(case: str) -> list[Seen]:
    return [found for found in history(case) if found.standing is WAITING]


@pytest.mark.parametrize(
    ("case", "kind", "title"),
    [
        ("permission_once", "permission", "bash: echo ask me"),
        ("question_answered", "question", "Which?"),
        ("subagent_permission", "permission", "bash: echo ask child"),
    ],
)
def test_waiting_names_what_is_asked(case: str, kind: str, title: str) -> None:
    for found in waits(case):
        (request,) = found.open_requests
        assert (request.kind, request.title) == (kind, title)
        assert request.request_id in found.detail
        assert found.open_tools == 1
    assert waits(case)


def test_a_child_session_that_asks_makes_its_parent_wait() -> None:
    parent = load("subagent_permission").session_id
    assert {request.session_id for found in waits("subagent_permission") for request in found.open_requests} != {parent}


@pytest.mark.parametrize("case", ["permission_aborted", "question_aborted"])
def test_a_request_left_over_by_an_abort_is_not_open(case: str) -> None:
    recorded = load(case)
    final = seen(recorded.final, recorded.prompts[0])
    assert final.standing is ABORTED
    assert final.open_requests == ()


def test_a_request_of_an_idle_child_or_another_session_is_not_ours() -> None:
    case = load("tool_bash")
    busy = next(s for _, s in states("tool_bash") if s.status and any(p.open for m in s.messages for p in m.parts))
    foreign = PermissionRequest(id="per_1", session_id="ses_other", permission="bash")
    idle_child = Snapshot(busy.status, busy.messages, [foreign], [ChildSession("ses_other", active=False)])
    assert seen(idle_child, case.prompts[0]).standing is RUNNING
    busy_child = replace(idle_child, children=[ChildSession("ses_other", active=True)])
    assert seen(busy_child, case.prompts[0]).standing is WAITING


def test_retry_says_until_when() -> None:
    times = {found.retry_at for found in history("error_http429_retry_after")} - {None}
    assert times == {datetime.fromtimestamp(1795333322.859, UTC)}


def test_a_retry_beyond_every_calendar_is_no_time() -> None:
    snapshot = replace(load("kill9_stream").final, status=StatusEntry(type="retry", attempt=1, next=1e300))
    found = seen(snapshot, load("kill9_stream").prompts[0])
    assert (found.standing, found.retry_at) == (RUNNING, None)


def test_failure_says_what_to_do_and_holds_no_address() -> None:
    failure = seen(load("error_http401").final, load("error_http401").prompts[0]).failure
    assert failure is not None
    assert (failure.code, failure.fault, failure.retryable) == ("APIError", Fault.OPERATOR, False)
    assert failure.message == "stub says 401 (HTTP 401)."
    assert "API key" in failure.next_step
    assert "http" not in failure.model_dump_json().replace("HTTP", "").lower()


def test_a_failed_server_of_the_model_is_worth_another_try() -> None:
    failure = seen(load("error_http500_forever").final, load("error_http500_forever").prompts[0]).failure
    assert failure is not None
    assert (failure.fault, failure.retryable) == (Fault.PROVIDER, True)


def test_answer_usage_and_tools() -> None:
    found = seen(load("tool_write_read").final, load("tool_write_read").prompts[0])
    assert found.text == FIVE_TOKENS
    assert (found.tool_calls, found.open_tools, found.usage.model_calls) == (2, 0, 3)
    assert [(tool.name, tool.status) for tool in found.tools] == [("write", "completed"), ("read", "completed")]
    assert found.usage.input_tokens == 30
    assert found.message_id is not None


def test_text_is_cut_to_the_limit_and_says_so() -> None:
    found = assess(load("normal").final, load("normal").prompts[0], 4)
    assert isinstance(found, Seen)
    assert (found.text, found.text_truncated) == ("tok0", True)


def test_fingerprint_follows_stored_progress_and_nothing_else() -> None:
    case = load("tool_bash")
    prints = [found.fingerprint for found in history("tool_bash")]
    changes = [new for old, new in pairwise(prints) if old != new]
    assert len(changes) == len(set(changes)), "progress never returns to an earlier fingerprint"
    assert len(changes) > 5
    idle = replace(case.final, status=StatusEntry(type="busy"))
    assert seen(idle, case.prompts[0]).fingerprint == seen(case.final, case.prompts[0]).fingerprint


def test_fingerprint_follows_the_output_of_a_running_command() -> None:
    running = [found for found in history("tool_bash") if found.open_tools]
    assert len({found.fingerprint for found in running}) > 1


def test_fingerprint_follows_retries_and_children() -> None:
    snapshot, prompt = load("kill9_tool").final, load("kill9_tool").prompts[0]
    snapshots = [
        snapshot,
        replace(snapshot, status=StatusEntry(type="retry", attempt=1)),
        replace(snapshot, status=StatusEntry(type="retry", attempt=2)),
        replace(snapshot, children=[ChildSession("ses_c", active=True, progress="1")]),
        replace(snapshot, children=[ChildSession("ses_c", active=True, progress="2")]),
    ]
    assert len({seen(one, prompt).fingerprint for one in snapshots}) == len(snapshots)


def test_absent_prompt_says_whether_the_session_works() -> None:
    final = load("normal").final
    assert assess(final, "msg_absent", TEXT_LIMIT) == NotThere(what="prompt", busy=False)
    busy = replace(final, status=StatusEntry(type="busy"))
    assert assess(busy, "msg_absent", TEXT_LIMIT) == NotThere(what="prompt", busy=True)


def user(name: str, **part: object) -> Message:
    return Message.model_validate({"info": {"id": name, "role": "user"}, "parts": [{"type": "text", **part}]})


def assistant(name: str, parent: str, *parts: dict[str, object], **info: object) -> Message:
    time = {"created": 1, "completed": 2}
    return Message.model_validate(
        {"info": {"id": name, "role": "assistant", "parentID": parent, "time": time, **info}, "parts": parts}
    )


def of(*messages: Message, busy: bool = False) -> Standing:
    return seen(Snapshot(StatusEntry(type="busy") if busy else None, messages), "u1").standing


def tool(title: str, **state: object) -> dict[str, object]:
    return {"type": "tool", "tool": "write", "state": {"status": "completed", "title": title, **state}}


@pytest.mark.parametrize(
    ("directory", "title", "shown"),
    [
        ("/srv/shop", "srv/shop/src/hello.txt", "src/hello.txt"),  # outside of a repository OpenCode counts from /
        ("/srv/shop", "src/hello.txt", "src/hello.txt"),
        ("/srv/shop", "srv/shopping/list.txt", "srv/shopping/list.txt"),
        ("/", "etc/motd", "etc/motd"),
    ],
)
def test_a_file_is_named_from_the_turns_directory(directory: str, title: str, shown: str) -> None:
    messages = (user("u1"), assistant("a1", "u1", tool(title), finish="stop"))
    found = assess(Snapshot(None, messages), "u1", TEXT_LIMIT, directory)
    assert isinstance(found, Seen)
    assert [use.title for use in found.tools] == [shown]


def test_a_command_that_was_cut_off_is_not_said_to_have_completed() -> None:
    aborted = load("abort_in_tool")
    assert [use.status for use in seen(aborted.final, aborted.prompts[0]).tools] == ["aborted"]


STEP: Final[dict[str, object]] = {"type": "step-start"}
REJECTED: Final[dict[str, object]] = {
    "type": "tool",
    "state": {"status": "error", "error": "The user rejected permission to use this specific tool call."},
}


def test_a_rejected_permission_ends_the_turn_as_refused() -> None:
    refused = assistant("a1", "u1", STEP, REJECTED, finish="tool-calls")
    assert of(user("u1"), refused) is REFUSED
    assert of(user("u1"), refused, busy=True) is RUNNING


@pytest.mark.parametrize("finish", ["tool-calls", "unknown", None])
def test_a_turn_that_stopped_between_two_steps_is_halted(finish: str | None) -> None:
    assert of(user("u1"), assistant("a1", "u1", STEP, finish=finish)) is HALTED


def test_structured_output_is_an_answer() -> None:
    assert of(user("u1"), assistant("a1", "u1", STEP, finish="tool-calls", structured={"answer": 4})) is SUCCEEDED


def test_a_summary_is_never_the_answer() -> None:
    compaction = user("c1", type="compaction", auto=True)
    answer = assistant("a1", "u1", STEP, finish="stop")
    assert of(user("u1"), answer, compaction, assistant("s1", "c1", STEP, finish="stop", summary=True)) is HALTED


def test_a_compaction_by_hand_belongs_to_no_turn() -> None:
    compaction = user("c1", type="compaction", auto=False)
    answer = assistant("a1", "u1", STEP, finish="stop")
    assert of(user("u1"), answer, compaction, assistant("s1", "c1", STEP, finish="stop", summary=True)) is SUCCEEDED


def test_a_command_that_a_person_ran_later_is_not_the_answer() -> None:
    answer = assistant("a1", "u1", STEP, {"type": "text", "text": "mine"}, finish="stop")
    shell = assistant("a2", "x1", {"type": "tool", "state": {"status": "completed"}})
    found = seen(Snapshot(None, [user("u1"), answer, user("x1", synthetic=True), shell]), "u1")
    assert (found.standing, found.text) == (SUCCEEDED, "mine")


def test_a_prompt_whose_parts_are_not_stored_yet_is_no_later_prompt() -> None:
    # It may be OpenCode's own continuation, and then the answer above it is not the last word.
    bare = Message.model_validate({"info": {"id": "u2", "role": "user"}})
    assert of(user("u1"), assistant("a1", "u1", STEP, finish="stop"), bare, busy=True) is RUNNING


def test_a_step_taken_over_by_a_later_prompt_is_absorbed_only_once_that_is_certain() -> None:
    step = assistant("a1", "u1", STEP, finish="tool-calls")
    assert of(user("u1"), step, user("u2"), busy=True) is RUNNING
    assert of(user("u1"), step, user("u2"), assistant("a2", "u2", STEP), busy=True) is ABSORBED
    assert of(user("u1"), step, user("u2")) is ABSORBED


def test_a_corpse_under_a_later_answer_is_halted_though_the_session_is_busy() -> None:
    corpse = assistant("a1", "u1", STEP, time={"created": 1})
    assert of(user("u1"), corpse, user("u2"), assistant("a2", "u2", STEP), busy=True) is HALTED


MESSAGES = st.builds(
    lambda role, number, parent, parts, info: Message.model_validate(
        {"info": {"id": f"m{number}", "role": role, "parentID": f"m{parent}", **info}, "parts": parts}
    ),
    st.sampled_from(["user", "assistant"]),
    st.integers(0, 5),
    st.integers(0, 5),
    st.lists(
        st.sampled_from(
            [
                STEP,
                REJECTED,
                {"type": "text", "text": "t"},
                {"type": "text", "synthetic": True},
                {"type": "compaction", "auto": True},
                {"type": "tool", "tool": "task", "state": {"status": "running"}},
            ]
        ),
        max_size=3,
    ),
    st.fixed_dictionaries(
        {"time": st.sampled_from([{"created": 1}, {"created": 1, "completed": 2}])},
        optional={
            "finish": st.sampled_from(["stop", "length", "tool-calls", "unknown", "error", "other"]),
            "error": st.sampled_from([{"name": "MessageAbortedError"}, {"name": "APIError", "data": {"message": "m"}}]),
            "summary": st.booleans(),
        },
    ),
)
SETTLED = frozenset(Standing) - {Standing.UNSTARTED, RUNNING, WAITING, HALTED}


@given(st.lists(MESSAGES, max_size=8), st.sampled_from([None, "busy", "retry"]))
def test_any_list_is_assessed_and_a_working_session_settles_nothing_but_what_it_left_behind(
    messages: list[Message], status: str | None
) -> None:
    found = assess(Snapshot(StatusEntry(type=status) if status else None, messages), "m0", TEXT_LIMIT)
    if isinstance(found, Seen):
        assert (found.failure is not None) == (found.standing is Standing.FAILED)
        if status is not None and "a later prompt" not in found.detail:
            assert found.standing not in SETTLED
        if "unfinished" in found.detail:
            assert found.standing not in SETTLED
