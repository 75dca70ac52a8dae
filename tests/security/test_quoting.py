"""A provider that quotes what it was sent: addresses, headers and keys do not come back with its errors."""

from __future__ import annotations

import base64
from typing import Final

import httpx
import pytest

from tests.unit.opencode_on_paper import HOST, PASSWORD, PaperOpenCode, as_json, client_of
from turnkeeper.errors import ProviderError
from turnkeeper.opencode.client import OpenCodeClient
from turnkeeper.opencode.wording import foreign
from turnkeeper.settings import EndpointSettings

KEY: Final = "k3y-Of-Ada-0123456789"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Basic {KEY}",
        f"authorization: bearer {KEY}",
        f"'Authorization': 'Bearer {KEY}'",
        f'{{"x-api-key":"{KEY}"}}',
        f"got Bearer {KEY} and did not like it",
        f"OPENAI_API_KEY={KEY}",
        f"api key: {KEY}",
        f"client_secret={KEY}&x=1",
        f"access_token={KEY}",
        f"Cookie: session={KEY}",
        f"password = {KEY}",
        f"https://ada:{KEY}@example.com/path?key={KEY} failed",
        f"Incorrect key: sk-{KEY}",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    assert KEY not in foreign(text)
    assert foreign(text), "something is still said"


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: the model takes at most 4096",
        "Basic authentication required",
        "the context holds 200000 tokens, asked for 210000 tokens",
        "unexpected token < in JSON at position 0",
        "No key was given",
    ],
)
def test_what_does_not_is_left_as_it_is(text: str) -> None:
    assert foreign(text) == text


BASIC: Final = base64.b64encode(f"opencode:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize("status", [400, 409, 418, 429, 500, 503])
@pytest.mark.parametrize("said", [PASSWORD, f"«{PASSWORD}»", f"x{BASIC}x", f"connect ECONNREFUSED {HOST}:4096", HOST])
async def test_what_is_known_to_be_secret_is_hidden_however_it_is_said(status: int, said: str) -> None:
    answer = as_json({"name": "Oops", "data": {"message": f"Mishap: {said}"}}, status)
    client = client_of(PaperOpenCode({"GET /session/ses_1": answer}))
    with pytest.raises(ProviderError) as caught:
        await client.session("ses_1")
    await client.close()
    assert "Mishap" in str(caught.value)
    for secret in (PASSWORD, BASIC, HOST):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("text", ["\x1b[2J\x1b[H gone", "a\x00b", "\u202egnp.exe", "\x9b31m red", "bell\x07"])
def test_nothing_steers_a_terminal(text: str) -> None:
    assert foreign(text).isprintable()


def test_half_a_character_can_be_kept() -> None:
    assert foreign("\ud800 x").encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_gets_no_password(status: int) -> None:
    answer = httpx.Response(status, headers={"location": "http://elsewhere.invalid/session/ses_1"})
    paper = PaperOpenCode({"GET /session/ses_1": answer})
    client = client_of(paper)
    with pytest.raises(ProviderError, match="a redirect"):
        await client.session("ses_1")
    await client.close()
    assert [request.url.host for request in paper.requests] == [HOST]


async def test_a_media_type_of_any_length_is_not_repeated() -> None:
    answer = httpx.Response(200, headers={"content-type": "text/" + "x" * 5000}, text="x")
    client = client_of(PaperOpenCode({"GET /session/ses_1": answer}))
    with pytest.raises(ProviderError) as caught:
        await client.session("ses_1")
    await client.close()
    assert len(str(caught.value)) < 400


async def test_a_short_password_makes_no_holes() -> None:
    given = {"url": "http://127.0.0.1:9", "password": "e", "roots": ["/"]}
    paper = PaperOpenCode({"GET /session/ses_1": as_json({"message": "every letter"}, 400)})
    client = OpenCodeClient(EndpointSettings.model_validate(given), "box", transport=paper)
    with pytest.raises(ProviderError, match="every letter"):
        await client.session("ses_1")
    await client.close()
