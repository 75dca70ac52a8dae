"""Events find their thread although OpenCode cannot say for a moment whose session it is."""

from __future__ import annotations

import httpx
import pytest

from activities import routing
from activities.routing import Route, Router
from tests.unit.opencode_on_paper import client_of

SESSION = {"id": "ses_1", "directory": "/d", "metadata": {"turnkeeper": {"thread": "t", "namespace": "default"}}}
PAGE = httpx.Response(200, text="<html>wait</html>", headers={"content-type": "text/html"})


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "READ_AGAIN_FIRST", 0.001)
    monkeypatch.setattr(routing, "READ_AGAIN_LAST", 0.004)


def router(*answers: httpx.Response) -> tuple[Router, list[str]]:
    """And what it asks; the last answer is given for ever."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        given = answers[min(len(asked), len(answers)) - 1]
        return httpx.Response(given.status_code, content=given.content, headers=given.headers)

    return Router(client_of(httpx.MockTransport(answer)), "default"), asked


async def test_a_session_that_could_not_be_read_is_read_again() -> None:
    routes, asked = router(httpx.Response(500, json={}), PAGE, httpx.Response(200, json=SESSION))
    assert await routes.find("ses_1") == Route("t", child=False)
    assert len(asked) == 3


async def test_a_session_that_does_not_exist_is_asked_for_once() -> None:
    routes, asked = router(httpx.Response(404, json={"name": "NotFoundError", "data": {"message": "no session"}}))
    assert await routes.find("ses_1") is None
    assert len(asked) == 1


async def test_it_is_given_up_in_the_end() -> None:
    routes, asked = router(PAGE)
    assert await routes.find("ses_1") is None
    assert len(asked) == 4
