"""The codec server: opens and seals payloads for the Temporal UI and CLI, for people who may read them.

Whoever gets past it reads every conversation, so each request shows a token: as `Authorization: Bearer …` (the Temporal
CLI, a proxy that knows the user) or as the cookie that the sign-in page sets (the Temporal UI without a login of its
own). A browser may come from the configured origins alone. Needs `turnkeeper[codec-server]`; TLS is a proxy's business.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qs, urlsplit

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads

from turnkeeper.codec import EncryptionCodec
from turnkeeper.codec_server_settings import CodecServerSettings
from turnkeeper.encryption_keys import KeyRing
from turnkeeper.errors import EncryptionError

BODY_TIMEOUT: Final = 15.0
"""Seconds for a request's body to arrive: some megabytes over a slow line. A client that dawdles holds memory."""

SIGN_IN_BYTES: Final = 4096
"""Bytes of a filled-in sign-in form."""

COOKIE: Final = "turnkeeper_codec"
COOKIE_SECONDS: Final = 12 * 60 * 60
"""A working day. It also ends when the token changes."""

HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
}

SIGN_IN_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Turnkeeper codec server</title>
<h1>Turnkeeper codec server</h1><p>{said}</p>
<form method="post" action="/sign-in"><label>Token <input type="password" name="token" autocomplete="off"></label>
<button>Sign in</button></form></html>
"""

log = logging.getLogger(__name__)

Work = Callable[[Iterable[Payload]], list[Payload]]


def codec_app(ring: KeyRing, settings: CodecServerSettings) -> Starlette:
    """The server as an ASGI application."""
    door = Door(settings)
    # A UI sends whatever it shows: what is not encrypted passes, whatever workers do.
    codec = EncryptionCodec(replace(ring, accepts_plain=True))
    return Starlette(
        routes=[
            Route("/decode", door.guarded(codec.open), methods=["POST"]),
            Route("/encode", door.guarded(codec.seal), methods=["POST"]),
            Route("/", door.show, methods=["GET"]),
            Route("/sign-in", door.sign_in, methods=["POST"]),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins,
                allow_methods=["POST"],
                allow_headers=["authorization", "content-type", "x-namespace"],
                allow_credentials=True,
            )
        ],
        exception_handlers={HTTPException: _refuse},
    )


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in, and how much they may bring."""

    settings: CodecServerSettings

    def guarded(self, work: Work) -> Callable[[Request], Awaitable[Response]]:
        """`work` for those who may."""

        async def answer(request: Request) -> Response:
            self._check_origin(request)
            self._check_token(request)
            if request.headers.get("x-namespace") != self.settings.namespace:
                raise HTTPException(403, "X-Namespace names no namespace that is served here.")
            body = await _body(request, self.settings.max_body_bytes)
            return await asyncio.to_thread(_converted, body, work)

        return answer

    async def show(self, _: Request) -> Response:
        """The sign-in page."""
        return _page("Sign in to read payloads in the Temporal UI.")

    async def sign_in(self, request: Request) -> Response:
        """Set the cookie, if the token is right."""
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise HTTPException(403, "This page signs in from itself alone.")
        form = parse_qs((await _body(request, SIGN_IN_BYTES)).decode("latin-1"))
        if not _same(form.get("token", [""])[0], self.settings.secret):
            log.warning("sign-in refused: wrong token")
            return _page("That is not the token.", status=401)
        answer = RedirectResponse("/", status_code=303, headers=HEADERS)
        answer.set_cookie(
            COOKIE,
            self._cookie(),
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure=all(origin.startswith("https:") for origin in self.settings.origins),
        )
        return answer

    def _check_origin(self, request: Request) -> None:
        """A browser always says where a page's request comes from; other programs do not."""
        origin = request.headers.get("origin")
        if origin is not None and origin not in self.settings.origins:
            raise HTTPException(403, "Requests from this origin are refused.")

    def _check_token(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        by_token = scheme.lower() == "bearer" and _same(token.strip(), self.settings.secret)
        # A cookie comes along with whatever a browser sends, so it counts from the UI's own pages alone.
        by_cookie = "origin" in request.headers and _same(request.cookies.get(COOKIE, ""), self._cookie())
        if not (by_token or by_cookie):
            raise HTTPException(401, "Show the token, or sign in.", headers={"www-authenticate": "Bearer"})

    def _cookie(self) -> str:
        """Made from the token, and no way back to it."""
        return hmac.new(self.settings.secret.encode(), COOKIE.encode(), hashlib.sha256).hexdigest()


def _same(given: str, secret: str) -> bool:
    """In the same time whatever is given, its length included."""
    digests = (hashlib.sha256(text.encode(errors="surrogatepass")).digest() for text in (given, secret))
    return hmac.compare_digest(*digests)


async def _body(request: Request, limit: int) -> bytes:
    """What was sent, never more than `limit` bytes of it in memory."""
    too_much = HTTPException(413, f"At most {limit} bytes.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_much
    except TimeoutError:
        raise HTTPException(408, "The request did not arrive in time.") from None
    except ClientDisconnect:
        raise HTTPException(400, "The request ended early.") from None
    return bytes(body)


def _converted(body: bytes, work: Work) -> Response:
    try:
        given = json_format.Parse(body.decode(), Payloads(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        # The parser's own words would repeat what was sent.
        raise HTTPException(400, 'Not of the form {"payloads": [{"metadata": {…}, "data": "…"}]}.') from None
    try:
        done = work(given.payloads)
    except EncryptionError as error:
        raise HTTPException(422, str(error)) from None
    answer = json_format.MessageToJson(Payloads(payloads=done), indent=None)
    return Response(answer, media_type="application/json", headers=HEADERS)


def _page(said: str, *, status: int = 200) -> Response:
    return HTMLResponse(SIGN_IN_PAGE.format(said=said), status_code=status, headers=HEADERS)


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these alone
    log.warning("refused with %d: %s", error.status_code, error.detail)
    return JSONResponse({"message": error.detail}, error.status_code, headers={**HEADERS, **(error.headers or {})})
