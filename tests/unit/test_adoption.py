"""Which session a thread may take over, and what it is then."""

from __future__ import annotations

import pytest

from tests.unit.scripted_turn import T0
from tests.unit.test_threads import IDLE, RUNNING, outcome
from turnkeeper import threads
from turnkeeper.adoption import WORDLESS, adopted, following, refusal, result, session_refusal
from turnkeeper.errors import RefusedError
from turnkeeper.findings import Adoption, AdoptRequest, LiveRun, SessionFound
from turnkeeper.limits import TurnLimits
from turnkeeper.vocabulary import Reason, SessionStatus

REQUEST = AdoptRequest(endpoint="local", thread_id="shop", namespace="default", session_id="ses_1")
FOUND = SessionFound(session_id="ses_1", directory="/srv/shop", busy=False)
RESTING = Adoption(session_id="ses_1", directory="/srv/shop", task_queue="q", limits=TurnLimits())
LIVE = RESTING.model_copy(update={"live": LiveRun(message_id="msg_1", prompt="fix it")})


def test_a_session_at_rest_makes_the_thread_ready_and_invents_no_turn() -> None:
    state = adopted(IDLE, RESTING, T0)
    assert (state.status, state.session_id, state.directory) == (SessionStatus.READY, "ses_1", "/srv/shop")
    assert (state.queue, state.recent, following(state, "ses_1")) == ((), (), None)


def test_a_live_run_is_the_next_turn_and_is_judged_like_any_other() -> None:
    state = adopted(IDLE, LIVE, T0)
    begun = threads.begin_next(state, T0)
    assert begun is not None
    state, turn = begun
    assert (turn.adopted_message_id, turn.start.prompt) == ("msg_1", "fix it")
    over = threads.settled(threads.started(state, "run-1"), outcome(Reason.PROVIDER_LOST_TURN), "ses_1")
    assert over.recent[-1].adopted
    assert "adopted" in threads.notes(over.recent[-1])
    assert result(over, "shop", "ses_1", repeated=True).turn_id == "t1"


def test_a_live_prompt_without_words_is_still_a_turn() -> None:
    live = LIVE.model_copy(update={"live": LiveRun(message_id="msg_1", prompt=" ")})
    assert adopted(IDLE, live, T0).queue[0].start.prompt == WORDLESS


def test_the_same_session_again_changes_nothing() -> None:
    state = adopted(IDLE, LIVE, T0)
    assert refusal(state, "ses_1") is None
    assert adopted(state, RESTING, T0) == state


def test_a_thread_in_use_takes_no_other_one() -> None:
    for state in (RUNNING, adopted(IDLE, RESTING, T0)):
        with pytest.raises(RefusedError):
            adopted(state, RESTING.model_copy(update={"session_id": "ses_2"}), T0)


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        (FOUND, None, ""),
        (FOUND.model_copy(update={"thread_id": "shop", "namespace": "default"}), None, ""),
        (FOUND.model_copy(update={"parent_id": "ses_0"}), "child_session", "ses_0"),
        (FOUND.model_copy(update={"thread_id": "site", "namespace": "default"}), "already_adopted", "thread site "),
        (FOUND.model_copy(update={"thread_id": "shop", "namespace": "other"}), "already_adopted", "namespace other"),
        (FOUND.model_copy(update={"directory": "/srv/site"}), "foreign_directory", "/srv/site"),
    ],
)
def test_whose_session_it_is_decides(found: SessionFound, code: str | None, says: str) -> None:
    error = session_refusal(found, REQUEST.model_copy(update={"directory": "/srv/shop/"}))
    assert (error.detail_code if error else None) == code
    assert says in str(error or "")
