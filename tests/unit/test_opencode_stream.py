"""The event stream: attached only when it is, alive only while frames come, and every end a named one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from tests.unit.opencode_on_paper import SECRETS, PaperOpenCode, client_of, not_found, web_page
from tests.unit.recordings import frames
from turnkeeper.errors import (
    DeliveryUnknownError,
    ProviderContractError,
    ProviderCredentialsError,
    ProviderError,
    ProviderUnreachableError,
)
from turnkeeper.opencode.connection import EVENT_STREAM_TYPE
from turnkeeper.opencode.stream import EventStream, open_stream
from turnkeeper.opencode.translate import Translated
from turnkeeper.vocabulary import EventKind

CONNECTED = b'data: {"payload":{"id":"evt_0","type":"server.connected","properties":{}}}\n\n'
IDLE = (
    b'data: {"directory":"/w","project":"global","payload":{"id":"evt_1","type":"session.status",'
    b'"properties":{"sessionID":"ses_1","status":{"type":"idle"}}}}\n\n'
)
SHORT_SILENCE = 10.001  # seconds; the shortest that the settings take


class Script(httpx.AsyncByteStream):
    """Sends chunks; an exception is raised, a number is a pause in seconds."""

    def __init__(self, *steps: bytes | float | Exception) -> None:
        self._steps: Sequence[bytes | float | Exception] = steps
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                yield step
            else:
                await asyncio.sleep(step)

    async def aclose(self) -> None:
        self.closed = True


def streaming(*steps: bytes | float | Exception) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": EVENT_STREAM_TYPE}, stream=Script(*steps))


async def read(answer: httpx.Response | Exception) -> tuple[list[Translated], ProviderError, EventStream | None]:
    """Everything until the stream's end, and how it ended."""
    said: list[Translated] = []
    stream: EventStream | None = None
    client = client_of(PaperOpenCode({"GET /global/event": answer}), stream_silence=SHORT_SILENCE)
    error: ProviderError | None = None
    try:
        async with open_stream(client) as stream:
            async for batch in stream:
                said += batch
    except ProviderError as end:
        error = end
    await client.close()
    assert error is not None, "a stream ends by raising"
    assert (error.__cause__, error.__context__) == (None, None)
    assert not any(secret in str(error) for secret in SECRETS)
    return said, error, stream


def summed(said: list[Translated]) -> Counter[str]:
    """Events by session; how many were folded into one depends on how they came."""
    events = [one.event for one in said if one.event]
    return sum((Counter({event.session_id: event.count}) for event in events), Counter())


def decisive(said: list[Translated]) -> list[Translated]:
    """What is not folded, in order."""
    return [one for one in said if one.event is None or one.event.kind not in {EventKind.PROGRESS, EventKind.TOOL}]


async def test_a_stream_is_attached_by_its_first_frame_and_ends_by_raising() -> None:
    said, error, stream = await read(streaming(CONNECTED, IDLE))
    assert [one.event.kind for one in said if one.event] == [EventKind.IDLE]
    assert (type(error), error.detail_code) == (DeliveryUnknownError, "stream_closed")
    assert stream is not None
    assert not stream.attached
    assert stream.tally.frames == 2


async def test_events_that_come_with_the_first_frame_are_not_lost() -> None:
    said, _, _ = await read(streaming(CONNECTED + IDLE + IDLE[:30], IDLE[30:]))
    assert len(said) == 2


async def test_a_recorded_stream_gives_its_events_however_it_is_cut() -> None:
    wire = CONNECTED + b"".join(b"data: " + frame + b"\n\n" for _, frame in frames("tool_bash"))
    whole, _, _ = await read(streaming(wire))
    cut, _, _ = await read(streaming(*(wire[at : at + 777] for at in range(0, len(wire), 777))))
    assert summed(cut) == summed(whole) != {}
    assert decisive(cut) == decisive(whole) != []


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (httpx.ReadError("broken"), DeliveryUnknownError),
        (httpx.RemoteProtocolError("incomplete chunked read"), DeliveryUnknownError),
        (httpx.ReadTimeout("silence"), DeliveryUnknownError),
    ],
)
async def test_a_broken_stream_raises_an_error_of_ours(end: Exception, expected: type[ProviderError]) -> None:
    said, error, _ = await read(streaming(CONNECTED, IDLE, end))
    assert type(error) is expected
    assert len(said) == 1


async def test_silence_has_its_own_code() -> None:
    _, error, _ = await read(streaming(CONNECTED, httpx.ReadTimeout("silence")))
    assert error.detail_code == "stream_silent"


async def test_bytes_that_never_make_a_frame_are_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("turnkeeper.opencode.stream.time.monotonic", lambda: float(next(clock)))
    _, error, _ = await read(streaming(CONNECTED, *[b": keep-alive\n\n"] * 50))
    assert error.detail_code == "stream_silent"


async def test_a_malformed_frame_is_counted_and_the_stream_goes_on() -> None:
    said, _, stream = await read(streaming(CONNECTED, b"data: {half\n\n", b"data: \xff\n\n", IDLE))
    assert len(said) == 1
    assert stream is not None
    assert stream.tally.malformed == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (web_page(), ProviderContractError),
        (httpx.Response(204), ProviderContractError),
        (not_found(), ProviderContractError),
        (httpx.Response(401), ProviderCredentialsError),
        (httpx.Response(503), DeliveryUnknownError),
        (httpx.ConnectError("refused"), ProviderUnreachableError),
        (httpx.ConnectTimeout("slow"), ProviderUnreachableError),
        (streaming(), DeliveryUnknownError),
    ],
)
async def test_what_is_no_stream_is_never_attached(
    answer: httpx.Response | Exception, expected: type[ProviderError]
) -> None:
    _, error, stream = await read(answer)
    assert type(error) is expected
    assert stream is None


async def test_a_server_that_never_sends_the_first_frame_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnkeeper.opencode.stream.ATTACH_SECONDS", 0.05)
    _, error, stream = await read(streaming(5.0))
    assert (type(error), stream) == (DeliveryUnknownError, None)


async def test_leaving_closes_the_connection() -> None:
    script = Script(CONNECTED, IDLE, 60.0)
    answer = httpx.Response(200, headers={"content-type": EVENT_STREAM_TYPE}, stream=script)
    client = client_of(PaperOpenCode({"GET /global/event": answer}))
    async with open_stream(client) as stream:
        assert stream.attached
        assert await anext(stream)
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert not stream.attached
    await client.close()
