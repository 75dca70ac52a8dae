"""Encryption of payloads: what goes in comes out, and nothing else opens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from tests.encryption import KEYS, NEW, OLD, ring
from turnkeeper.codec import CIPHER, ENCODING, KEY_ID, CommandPayloads, EncryptionCodec, KeylessCodec, converter_of
from turnkeeper.encryption_keys import KeyRing
from turnkeeper.errors import EncryptionError
from turnkeeper.vocabulary import Fault

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"Fix the failing test"')
PAYLOADS = st.builds(
    lambda metadata, data: Payload(metadata=metadata, data=data),
    st.dictionaries(st.text(max_size=20), st.binary(max_size=40), max_size=4),
    st.binary(max_size=3000),
)


def sealed(payload: Payload = PLAIN, keys: KeyRing | None = None) -> Payload:
    (found,) = EncryptionCodec(keys or ring()).seal([payload])
    return found


def refusal(payload: Payload, keys: KeyRing | None = None) -> EncryptionError:
    with pytest.raises(EncryptionError) as refused:
        EncryptionCodec(keys or ring()).open([payload])
    error = refused.value
    assert error.fault is Fault.OPERATOR
    assert error.next_step
    for key in KEYS.values():
        assert key.hex() not in str(error)
    assert "Fix the" not in str(error)
    return error


@given(st.lists(PAYLOADS, max_size=4))
async def test_what_was_sealed_opens_as_it_was(payloads: list[Payload]) -> None:
    codec = EncryptionCodec(ring())
    hidden = await codec.encode(payloads)
    assert await codec.decode(hidden) == payloads
    for before, after in zip(payloads, hidden, strict=True):
        assert set(after.metadata) == {ENCODING, CIPHER, KEY_ID}
        assert len(before.data) < 8 or before.data not in after.data


def test_converters_share_their_adapters() -> None:
    """The SDK makes a converter for each workflow that it keeps: adapters of its own would cost each of them."""
    one, other = CommandPayloads(), CommandPayloads()
    assert one.converters is not other.converters
    assert one.converters[b"json/plain"] is other.converters[b"json/plain"]


def test_the_same_payload_never_looks_the_same() -> None:
    codec = EncryptionCodec(ring())
    assert len({codec.seal([PLAIN])[0].data for _ in range(100)}) == 100


def test_opening_changes_nothing_of_what_it_is_given() -> None:
    for payload in (sealed(), Payload(metadata={ENCODING: b"binary/encrypted"})):
        before = payload.SerializeToString(deterministic=True)
        with suppress(EncryptionError):
            EncryptionCodec(ring()).open([payload])
        assert payload.SerializeToString(deterministic=True) == before


def test_an_old_key_still_opens_after_a_rotation_and_the_new_one_seals() -> None:
    before, rotated = sealed(keys=ring(OLD)), ring(NEW, OLD)
    assert EncryptionCodec(rotated).open([before]) == [PLAIN]
    assert sealed(keys=rotated).metadata[KEY_ID] == NEW.encode()
    assert "'2026-11'" in str(refusal(sealed(keys=rotated), ring(OLD)))


def test_a_missing_key_is_named_with_whom_it_concerns() -> None:
    error = refusal(sealed(keys=ring(OLD)), ring(NEW))
    assert error.detail_code == "key_missing"
    assert "'2026-05', and this process does not have it. Give every worker and client the same keys" in str(error)


TAMPERINGS: Mapping[str, Callable[[Payload], None]] = {
    "a bit of the nonce": lambda p: setattr(p, "data", bytes([p.data[0] ^ 1]) + p.data[1:]),
    "a bit of the text": lambda p: setattr(p, "data", p.data[:20] + bytes([p.data[20] ^ 1]) + p.data[21:]),
    "a bit of the tag": lambda p: setattr(p, "data", p.data[:-1] + bytes([p.data[-1] ^ 1])),
    "cut short": lambda p: setattr(p, "data", p.data[:-1]),
    "almost nothing left": lambda p: setattr(p, "data", p.data[:5]),
    "nothing left": lambda p: setattr(p, "data", b""),
    "another key's id": lambda p: p.metadata.__setitem__(KEY_ID, NEW.encode()),
    "another algorithm": lambda p: p.metadata.__setitem__(CIPHER, b"none"),
    "no algorithm": lambda p: p.metadata.__delitem__(CIPHER),
}


@pytest.mark.parametrize("change", TAMPERINGS)
def test_a_changed_payload_is_refused(change: str) -> None:
    payload = sealed()
    TAMPERINGS[change](payload)
    assert refusal(payload, ring(OLD, NEW)).detail_code == "payload_tampered"


@given(st.binary(min_size=1, max_size=8), st.integers(min_value=0))
def test_no_bit_can_be_flipped(flip: bytes, at: int) -> None:
    payload = sealed()
    place = at % len(payload.data)
    data = bytearray(payload.data)
    data[place] ^= flip[0] or 1
    payload.data = bytes(data)
    assert refusal(payload).detail_code == "payload_tampered"


def test_the_id_of_a_key_is_bound_even_where_two_ids_have_the_same_key() -> None:
    payload = sealed(keys=KeyRing("a", {"a": KEYS[OLD]}))
    payload.metadata[KEY_ID] = b"b"
    assert refusal(payload, KeyRing("a", {"a": KEYS[OLD], "b": KEYS[OLD]})).detail_code == "payload_tampered"


def test_what_is_no_text_as_a_key_id_is_still_one_line() -> None:
    payload = sealed()
    payload.metadata[KEY_ID] = b"\xff\n\x1b[31m" + b"x" * 10_000
    said = str(refusal(payload))
    assert len(said) < 400
    assert "\n" not in said
    assert "\x1b" not in said


def test_plain_payloads_open_until_they_are_refused() -> None:
    assert EncryptionCodec(ring()).open([PLAIN]) == [PLAIN]
    error = refusal(PLAIN, ring(accepts_plain=False))
    assert error.detail_code == "payload_not_encrypted"
    assert "TURNKEEPER_ENCRYPTION_PLAIN=accept" in error.next_step


async def test_a_process_without_keys_passes_plain_payloads_and_names_the_missing_key() -> None:
    codec = KeylessCodec()
    assert await codec.decode(await codec.encode([PLAIN])) == [PLAIN]
    with pytest.raises(EncryptionError, match="'2026-05', and encryption is off in this process") as refused:
        await codec.decode([PLAIN, sealed()])
    assert refused.value.detail_code == "key_missing"


# Failures.


async def failure_of(error: BaseException, keys: KeyRing | None) -> Failure:
    failure = Failure()
    try:
        raise error
    except type(error) as raised:
        await converter_of(keys).encode_failure(raised, failure)
    return failure


async def test_error_texts_details_causes_and_stack_traces_are_sealed() -> None:
    error = ApplicationError("prompt: tell nobody", {"said": "tell nobody"}, type="known")
    error.__cause__ = ValueError("tell nobody either")
    failure = await failure_of(error, ring())
    raw = failure.SerializeToString()
    for hidden in (b"tell nobody", b"test_codec.py", b"raise error"):
        assert hidden not in raw
    assert b"known" in raw  # the type is a code, and Temporal needs it
    opened = await converter_of(ring(NEW, OLD)).decode_failure(failure)
    assert isinstance(opened, ApplicationError)
    assert (opened.message, opened.details) == ("prompt: tell nobody", ({"said": "tell nobody"},))
    assert "tell nobody either" in str(opened.__cause__)


async def test_what_is_said_about_keys_can_be_read_by_who_has_none() -> None:
    error = refusal(sealed(), ring(NEW))
    failure = await failure_of(error, ring(NEW))
    assert "'2026-05', and this process does not have it" in failure.message
    assert not failure.stack_trace


async def test_a_failure_from_before_encryption_is_still_read() -> None:
    failure = await failure_of(ApplicationError("in clear"), None)
    assert str(await converter_of(ring()).decode_failure(failure)) == "in clear"


# Cost.


def test_without_keys_nothing_of_cryptography_is_imported() -> None:
    program = "import sys, turnkeeper.cli.app, turnkeeper.codec; turnkeeper.codec.data_converter({}); "
    program += "print(*[n for n in sys.modules if n.split('.')[0] in {'cryptography', 'starlette', 'uvicorn'}])"
    found = subprocess.run(  # noqa: S603 - our own program
        (sys.executable, "-c", program), capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ""
