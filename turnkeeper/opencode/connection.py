"""One endpoint's HTTP: a shared connection pool, bounds on everything, and errors mapped once.

The `opencode-ai` SDK is the transport and nothing else: its own resources and models were generated for an older
server, and its retries post a prompt again (three turns out of one timeout, measured). Here it gets our
`httpx.AsyncClient`, no retries, and is asked for raw responses.

No error that leaves this module holds an address, a password or a foreign exception: `raise ... from None`, because
httpx writes the URL into its messages and Temporal writes causes into histories.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import AsyncIterator, Mapping
from typing import Final, TypeVar

import httpx
import opencode_ai
from pydantic import TypeAdapter, ValidationError

from turnkeeper.errors import ProviderContractError, ProviderError
from turnkeeper.opencode.answers import AnswerTooBigError, explain, other_type, too_big, wrong_shape
from turnkeeper.opencode.lanes import Lanes
from turnkeeper.opencode.tls import context_of
from turnkeeper.settings import EndpointSettings

JSON_TYPE: Final = "application/json"
EVENT_STREAM_TYPE: Final = "text/event-stream"

MAX_CONNECTIONS: Final = 64
"""Connections to one endpoint. More calls than that wait here instead of in OpenCode's one JavaScript thread."""

IDLE_CONNECTION_SECONDS: Final = 30.0
"""An idle connection is not used again after this long. It spans the pause between two looks, and ends before the
other side closes it (OpenCode: over 80 s, measured on 1.18.33; common proxies: 60 s), because a prompt that meets a
closing connection is *perhaps sent*."""

ONE_CONNECTION: Final = httpx.Limits(
    max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_CONNECTION_SECONDS
)

MAX_ERROR_BYTES: Final = 64 * 1024
"""Bytes read of an answer that is no success: its words are cut to hundreds of characters anyway."""

BIG_ANSWER_BYTES: Final = 1024 * 1024
"""An answer beyond this waits for its turn among the big ones."""

BIG_ANSWERS_AT_ONCE: Final = 2
"""Big answers that one endpoint may have in memory while they come in: 64 calls of 16 MiB would be a gigabyte."""

MAX_OBJECTS: Final = 100_000
"""JSON objects of one answer: each costs 700 bytes and 3 to 10 microseconds before anything is known of it (measured:
800 MB for 16 MiB of small ones). A hundred messages have some 6000."""

MAX_VALUES: Final = 1_000_000
"""Values of one answer, by its commas, those in texts included: 16 MiB of single digits take 250 MB and 0.3 s, of short
keys 0.7 s (measured). Text has one comma in 30 characters; a page full of tables is read in smaller ones."""

_OBJECT: Final = re.compile(rb'\{[ \t\r\n]*"')
"""An object with something in it. In a string the quote would be escaped, but for one that ends with a brace."""

SHORTEST_HIDDEN: Final = 4
"""Characters of what is hidden by its value. A password of three letters would make holes into every word."""

Answer = TypeVar("Answer")
Query = Mapping[str, str | int]


def keep_addresses_out_of_logs() -> None:
    """Silence the loggers that write request addresses (httpx does at INFO, the SDK and httpcore at DEBUG)."""
    for name in ("httpx", "httpcore", "opencode_ai"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _hidden(settings: EndpointSettings, password: str | None) -> frozenset[str]:
    """What of this endpoint may stand in no text, should its own answers quote it."""
    authority = settings.url.unicode_string().partition("://")[2].partition("/")[0]
    host = settings.url.host or ""
    # A bare name, such as `opencode`, is a word of its own too.
    texts = {authority, authority.rpartition("@")[2], host if "." in host or ":" in host else ""}
    if password is not None:
        credentials = f"{settings.username}:{password}"
        texts |= {password, base64.b64encode(credentials.encode()).decode()}
    return frozenset(text for text in texts if len(text) >= SHORTEST_HIDDEN)


class _BoundedStream(httpx.AsyncByteStream):
    """Ends an answer as soon as it exceeds the limit, while it is coming in; a big one waits for its turn."""

    def __init__(self, inner: httpx.AsyncByteStream, limit: int, big: asyncio.Semaphore) -> None:
        self._inner = inner
        self._limit = limit
        self._big = big
        self._is_big = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._inner:
            received += len(chunk)
            if received > self._limit:
                raise AnswerTooBigError(self._limit)
            if received > BIG_ANSWER_BYTES and not self._is_big:
                await self._big.acquire()
                self._is_big = True
            yield chunk

    async def aclose(self) -> None:
        if self._is_big:
            self._is_big = False
            self._big.release()
        await self._inner.aclose()


class _CutStream(httpx.AsyncByteStream):
    """The beginning of an answer that is no success: what its status says still counts, however long its words are."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ERROR_BYTES
        async for chunk in self._inner:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._inner.aclose()


class BoundedTransport(httpx.AsyncBaseTransport):
    """Bounds the size of every answer except the event stream, which has no end."""

    def __init__(self, inner: httpx.AsyncBaseTransport, limit: int) -> None:
        """`limit` in bytes as sent; we ask for uncompressed answers, so they are the bytes in memory too."""
        self._inner = inner
        self._limit = limit
        self._big = asyncio.Semaphore(BIG_ANSWERS_AT_ONCE)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if request.headers.get("accept") == EVENT_STREAM_TYPE:
            return response
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx.DecodingError("compressed, though asked not to be: its size cannot be bounded")
        if isinstance(response.stream, httpx.AsyncByteStream):
            stream = response.stream
            cut = not response.is_success
            response.stream = _CutStream(stream) if cut else _BoundedStream(stream, self._limit, self._big)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class Connection:
    """The way to one OpenCode server. Owns the connection pool; close it when done."""

    def __init__(
        self, settings: EndpointSettings, name: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`transport` replaces the network in tests.

        Raises:
            ConfigurationError: the files of its TLS settings cannot be used.

        """
        keep_addresses_out_of_logs()
        self.name = name
        self.settings = settings
        address = str(settings.url)
        timeout = httpx.Timeout(
            settings.request_timeout, connect=settings.connect_timeout, pool=settings.connect_timeout
        )
        verified = context_of(settings, name)

        def one_connection() -> httpx.AsyncHTTPTransport:
            return httpx.AsyncHTTPTransport(verify=verified, limits=ONE_CONNECTION)

        # Compression costs OpenCode's one thread more than the wire here, and would hide an answer's true size.
        plain = {"Accept-Encoding": "identity"}
        password = settings.secret()
        self._hidden = _hidden(settings, password)
        self.http = httpx.AsyncClient(
            base_url=address,
            auth=httpx.BasicAuth(settings.username, password) if password is not None else None,
            timeout=timeout,
            headers=plain,
            # With a transport of our own, httpx leaves proxy variables and .netrc alone: an endpoint is direct.
            transport=BoundedTransport(
                transport or Lanes(one_connection, MAX_CONNECTIONS, IDLE_CONNECTION_SECONDS),
                settings.max_response_bytes,
            ),
        )
        self._sdk = opencode_ai.AsyncOpencode(
            base_url=address, http_client=self.http, max_retries=0, timeout=timeout, default_headers=plain
        )
        # httpx bounds each read; a server that drips bytes would hold a call for ever without a bound on the whole.
        self._call_seconds = settings.connect_timeout + settings.request_timeout

    def __repr__(self) -> str:
        return f"Connection({self.name!r})"

    async def get(
        self, what: str, path: str, shape: TypeAdapter[Answer], query: Query | None = None
    ) -> tuple[Answer, httpx.Response]:
        """Ask; `what` names the call in errors ("reading the session")."""
        response = await self._call(what, "GET", path, query, None)
        return self._parsed(what, response, shape), response

    async def send(
        self,
        what: str,
        method: str,
        path: str,
        shape: TypeAdapter[Answer],
        query: Query | None = None,
        body: object = None,
    ) -> Answer:
        """Change something and parse the answer."""
        return self._parsed(what, await self._call(what, method, path, query, body), shape)

    async def post_without_answer(self, what: str, path: str, query: Query, body: object) -> None:
        """Post where OpenCode answers 204. Any other success is somebody else's."""
        response = await self._call(what, "POST", path, query, body)
        if response.status_code != httpx.codes.NO_CONTENT:
            raise ProviderContractError(f"{what}: answered {response.status_code} instead of 204.")

    async def close(self) -> None:
        """Close the pool; calls in flight fail."""
        await self.http.aclose()

    async def _call(self, what: str, method: str, path: str, query: Query | None, body: object) -> httpx.Response:
        failure: ProviderError
        try:
            async with asyncio.timeout(self._call_seconds):
                return await self._request(method, path, query, body)
        except (opencode_ai.APIError, httpx.HTTPError, TimeoutError) as error:
            failure = explain(what, self.name, error, self._hidden)
        raise failure from None

    async def _request(self, method: str, path: str, query: Query | None, body: object) -> httpx.Response:
        options: opencode_ai.RequestOptions = {"params": dict(query or {})}
        match method:
            case "GET":
                return await self._sdk.get(path, cast_to=httpx.Response, options=options)
            case "POST":
                return await self._sdk.post(path, cast_to=httpx.Response, body=body, options=options)
            case "PATCH":
                return await self._sdk.patch(path, cast_to=httpx.Response, body=body, options=options)
            case _:
                return await self._sdk.delete(path, cast_to=httpx.Response, options=options)

    def _parsed(self, what: str, response: httpx.Response, shape: TypeAdapter[Answer]) -> Answer:
        content_type = response.headers.get("content-type", "")
        if not content_type.startswith(JSON_TYPE):
            advice = f"Check that the address of endpoint {self.name} is an OpenCode 1.x server, not a web page."
            raise other_type(what, content_type, "JSON", advice, "provider_not_json")
        if response.content.count(b",") > MAX_VALUES:
            raise too_big(what, self.name, f"{MAX_VALUES} values")
        if _objects(response.content) > MAX_OBJECTS:
            raise too_big(what, self.name, f"{MAX_OBJECTS} objects")
        problem: ValidationError
        try:
            return shape.validate_json(response.content)
        except ValidationError as error:
            problem = error
        raise wrong_shape(what, problem) from None


def _objects(body: bytes) -> int:
    """Objects with something in them; counted exactly only where there may be too many."""
    braces = body.count(b"{")
    return braces if braces <= MAX_OBJECTS else sum(1 for _ in _OBJECT.finditer(body))
