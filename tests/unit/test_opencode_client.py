"""The client against answers that OpenCode, a proxy or a broken network may give: the right error, and no secret."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import httpx
import pytest

from tests.unit.opencode_on_paper import (
    DIRECTORY,
    HOST,
    MESSAGE,
    PASSWORD,
    SECRETS,
    SESSION,
    PaperOpenCode,
    as_json,
    client_of,
    no_content,
    not_found,
    session,
    web_page,
)
from turnkeeper.errors import (
    DeliveryUnknownError,
    ProviderContractError,
    ProviderCredentialsError,
    ProviderError,
    ProviderNotFoundError,
    ProviderOverloadedError,
    ProviderRefusedError,
    ProviderUnreachableError,
)
from turnkeeper.opencode.answers import seconds_of
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.identifiers import part_id

READ = f"GET /session/{SESSION}"
POST = f"POST /session/{SESSION}/prompt_async"
NOISE = f"at http://{HOST}:4096/session with {PASSWORD}"


class Endless(httpx.AsyncByteStream):
    """A body that never ends, and says how much of it was taken."""

    def __init__(self) -> None:
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += 64 * 1024
            yield b" " * 64 * 1024


class Dripping(httpx.AsyncByteStream):
    """A body that comes so slowly that no single read is late."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b" "


def read_session(client: OpenCodeClient) -> Awaitable[object]:
    return client.session(SESSION)


def send_prompt(client: OpenCodeClient) -> Awaitable[object]:
    return client.prompt(SESSION, DIRECTORY, MESSAGE, "go", model="stub/stub", agent="build")


async def failure_of(
    call: Callable[[OpenCodeClient], Awaitable[object]], answer: httpx.Response | Exception, **changes: object
) -> ProviderError:
    client = client_of(PaperOpenCode({READ: answer, POST: answer}), **changes)
    with pytest.raises(ProviderError) as caught:
        await call(client)
    await client.close()
    assert_keeps_secrets(caught.value)
    return caught.value


def assert_keeps_secrets(error: BaseException) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error) + str(error)
    chain = [error.__cause__, error.__context__]
    assert chain == [None, None], "Temporal writes causes into histories"
    assert not any(secret in told for secret in SECRETS)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.ConnectError(NOISE), ProviderUnreachableError),
        (httpx.ConnectTimeout(NOISE), ProviderUnreachableError),
        (httpx.PoolTimeout(NOISE), ProviderUnreachableError),
        (httpx.UnsupportedProtocol(NOISE), ProviderUnreachableError),
        (httpx.ReadTimeout(NOISE), DeliveryUnknownError),
        (httpx.WriteTimeout(NOISE), DeliveryUnknownError),
        (httpx.ReadError(NOISE), DeliveryUnknownError),
        (httpx.WriteError(NOISE), DeliveryUnknownError),
        (httpx.RemoteProtocolError(NOISE), DeliveryUnknownError),
        (httpx.CloseError(NOISE), DeliveryUnknownError),
        (
            as_json({"name": "UnknownError", "data": {"message": NOISE.removesuffix(PASSWORD)}}, 500),
            DeliveryUnknownError,
        ),
        (httpx.Response(502, text="bad gateway"), DeliveryUnknownError),
        (httpx.Response(429, text="later"), ProviderOverloadedError),
        (httpx.Response(503, text="later", headers={"retry-after": "3"}), ProviderOverloadedError),
        (httpx.Response(503, text="gone"), DeliveryUnknownError),
        (httpx.Response(425, text="too early"), DeliveryUnknownError),
        (as_json({"name": "BadRequest", "data": {"message": "Missing key"}}, 400), ProviderRefusedError),
        (httpx.Response(401), ProviderCredentialsError),
        (as_json({"_tag": "SessionBusyError", "message": "busy"}, 409), ProviderRefusedError),
        (not_found(), ProviderNotFoundError),
        (as_json({"_tag": "PermissionNotFoundError", "message": "gone"}, 404), ProviderNotFoundError),
        (httpx.Response(404, text="<html>nginx</html>", headers={"content-type": "text/html"}), ProviderContractError),
        (as_json({"error": "no such route"}, 404), ProviderContractError),
        (httpx.Response(302, headers={"location": f"http://{HOST}/login"}), ProviderContractError),
    ],
)
@pytest.mark.parametrize("call", [read_session, send_prompt])
async def test_every_failure_means_one_thing(
    call: Callable[[OpenCodeClient], Awaitable[object]],
    answer: httpx.Response | Exception,
    expected: type[ProviderError],
) -> None:
    assert type(await failure_of(call, answer)) is expected


@pytest.mark.parametrize(
    "answer",
    [
        web_page(),
        httpx.Response(200, content=b'{"id": "ses', headers={"content-type": "application/json"}),
        httpx.Response(200, content=b"", headers={"content-type": "application/json"}),
        as_json({"no": "id"}),
        as_json([1]),
        as_json({"id": 7}),
        no_content(),
        httpx.Response(
            200, content=b"\x1f\x8b", headers={"content-type": "application/json", "content-encoding": "gzip"}
        ),
    ],
)
async def test_an_answer_of_another_kind_breaks_the_contract(answer: httpx.Response) -> None:
    assert type(await failure_of(read_session, answer)) is ProviderContractError


async def test_an_answer_about_another_session_becomes_no_fact() -> None:
    """Its id would be the one that is marked, watched and stopped from then on."""
    assert type(await failure_of(read_session, as_json({**session(), "id": "ses_another"}))) is ProviderContractError


async def test_a_wrong_value_is_not_repeated() -> None:
    error = await failure_of(read_session, as_json({"id": {"key": PASSWORD}}))
    assert "id string_type" in error.message


async def test_a_prompt_answered_with_a_page_is_no_success() -> None:
    assert type(await failure_of(send_prompt, web_page())) is ProviderContractError


async def test_wrong_credentials_name_the_settings() -> None:
    error = await failure_of(read_session, httpx.Response(401))
    assert "password_file" in error.next_step
    assert error.detail_code == "provider_credentials"


async def test_a_huge_answer_is_cut_off_while_it_comes_in() -> None:
    body = Endless()
    answer = httpx.Response(200, headers={"content-type": "application/json"}, stream=body)
    error = await failure_of(read_session, answer, max_response_bytes=256 * 1024)
    assert type(error) is ProviderContractError
    assert body.sent <= 512 * 1024


async def test_a_dripping_answer_ends_in_time() -> None:
    answer = httpx.Response(200, headers={"content-type": "application/json"}, stream=Dripping())
    error = await failure_of(read_session, answer, request_timeout=0.1, connect_timeout=0.1)
    assert type(error) is DeliveryUnknownError


async def test_a_failed_post_is_posted_once() -> None:
    for answer in (httpx.ReadTimeout("late"), httpx.Response(500), httpx.Response(503), httpx.ConnectError("no")):
        paper = PaperOpenCode({POST: answer})
        with pytest.raises(ProviderError):
            await send_prompt(client_of(paper))
        assert paper.calls() == [POST]


async def test_a_prompt_carries_our_ids_and_the_directory() -> None:
    paper = PaperOpenCode({POST: no_content()})
    await client_of(paper).prompt(SESSION, DIRECTORY, MESSAGE, "go", model="stub/a/b", agent="build")
    (request,) = paper.requests
    assert request.url.params["directory"] == DIRECTORY
    assert request.headers["authorization"].startswith("Basic ")
    assert request.headers["accept-encoding"] == "identity"
    assert paper.bodies(POST) == [
        {
            "messageID": MESSAGE,
            "parts": [{"type": "text", "text": "go", "id": part_id(MESSAGE)}],
            "model": {"providerID": "stub", "modelID": "a/b"},
            "agent": "build",
        }
    ]


async def test_a_prompt_without_model_and_agent_leaves_both_to_the_provider() -> None:
    paper = PaperOpenCode({POST: no_content()})
    await client_of(paper).prompt(SESSION, DIRECTORY, MESSAGE, "go", model=None, agent=None)
    assert set(paper.bodies(POST)[0]) == {"messageID", "parts"}


async def test_without_a_password_no_credentials_are_sent() -> None:
    paper = PaperOpenCode({READ: as_json(session())})
    await client_of(paper, password=None).session(SESSION)
    assert "authorization" not in paper.requests[0].headers


async def test_an_id_cannot_leave_its_place_in_the_path() -> None:
    paper = PaperOpenCode({})
    with pytest.raises(ProviderContractError):
        await client_of(paper).session("ses_../../config?x=1#")
    assert paper.requests[0].url.raw_path == b"/session/ses_..%2F..%2Fconfig%3Fx%3D1%23"


async def test_an_address_with_a_path_keeps_it() -> None:
    paper = PaperOpenCode({f"GET /agents/one/session/{SESSION}": as_json(session())})
    client = client_of(paper, url=f"http://{HOST}/agents/one/")
    assert (await client.session(SESSION)).id == SESSION


async def test_keys_of_model_providers_are_dropped_at_parsing() -> None:
    body = {
        "providers": [{"id": "stub", "key": PASSWORD, "models": {"m": {"headers": {"x": PASSWORD}}}}],
        "default": {},
    }
    client = client_of(PaperOpenCode({"GET /config/providers": as_json(body)}))
    assert await client.models(DIRECTORY) == {"stub/m"}


async def test_hidden_agents_are_not_offered() -> None:
    body = [{"name": "build", "mode": "primary"}, {"name": "title", "mode": "primary", "hidden": True}]
    assert await client_of(PaperOpenCode({"GET /agent": as_json(body)})).agents(DIRECTORY) == {"build"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (web_page(), "provider_not_json"),
        (as_json({"version": "2.0.4"}), "provider_version"),
        (as_json({"healthy": True}), "provider_contract"),
    ],
)
async def test_health_refuses_what_it_does_not_know(answer: httpx.Response, code: str) -> None:
    client = client_of(PaperOpenCode({"GET /global/health": answer}))
    with pytest.raises(ProviderContractError) as caught:
        await client.health()
    assert caught.value.detail_code == code


async def test_health_tells_the_version() -> None:
    client = client_of(PaperOpenCode({"GET /global/health": as_json({"healthy": True, "version": "1.18.33"})}))
    assert await client.health() == "1.18.33"


async def test_unexpected_types_in_what_is_only_shown_do_not_fail() -> None:
    odd = {
        "info": {"id": "msg_1", "role": "assistant", "tokens": "many", "cost": None, "summary": [], "path": 3},
        "parts": [{"type": "tool", "id": 7, "text": {}, "state": {"status": "running", "title": 1, "metadata": []}}],
    }
    client = client_of(PaperOpenCode({f"GET /session/{SESSION}/message": as_json([odd])}))
    (message,), cursor, _ = await client.messages(SESSION, 1)
    assert (message.info.tokens.input, message.parts[0].open, cursor) == (0, True, None)


async def test_nothing_about_the_address_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = client_of(PaperOpenCode({READ: as_json(session())}))
    await client.session(SESSION)
    shown = caplog.text + repr(client) + repr(client.connection)
    assert not any(secret in shown for secret in SECRETS)


async def test_a_closed_client_says_so_as_an_error_of_ours() -> None:
    client = client_of(PaperOpenCode({READ: as_json(session())}))
    await client.close()
    with pytest.raises(ProviderError):
        await client.session(SESSION)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 00:00:30", 30.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("86400", 600.0),
        ("9" * 5000, 600.0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 600.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\u0661\u0662", None),
        ("Thu, 99 Jan 2026 99:99:99 GMT", None),
    ],
)
def test_a_retry_after_is_read_as_seconds_or_as_a_date_and_bounded(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


async def test_an_overloaded_server_is_told_with_its_own_time() -> None:
    failure = (await failure_of(read_session, httpx.Response(429, headers={"retry-after": "7"}))).failure()
    assert (failure.overloaded, failure.retry_after, failure.retryable) == (True, 7.0, True)
