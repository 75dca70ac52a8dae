"""Encryption of everything that Temporal stores of a conversation, and the data converter that all of us use.

Each payload is sealed whole, its type included, with AES-256-GCM under a fresh nonce. Key id and algorithm stand in its
metadata and are authenticated with it. Error texts and stack traces become payloads, so they are sealed too. What
Temporal needs in clear stays so: workflow ids, search attributes, types and names (docs/encryption.md lists them).

A nonce is 96 random bits: a key is good for 2**32 payloads, some 100 million turns (NIST SP 800-38D).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    EncodingPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)

from turnkeeper.encryption_keys import KEYS_FILE, PREFIX, KeyRing, load_keys
from turnkeeper.errors import EncryptionError
from turnkeeper.failures import to_application_error
from turnkeeper.refusals import bad_input
from turnkeeper.vocabulary import Command

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ENCODING: Final = "encoding"
ENCRYPTED: Final = b"binary/encrypted"
CIPHER: Final = "encryption-cipher"
KEY_ID: Final = "encryption-key-id"
ALGORITHM: Final = b"AES-256-GCM"
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16

_ID_SHOWN: Final = 64
"""Characters of a key id that are repeated: our own are no longer, and a stranger's may be anything."""


class EncryptionCodec(PayloadCodec):
    """Seals with one key, opens with any of the ring."""

    def __init__(self, ring: KeyRing) -> None:
        """Prepare the keys, once."""
        # Not at the top: only who encrypts pays for the import (12 ms).
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._broken: type[Exception] = InvalidTag
        self._ciphers: dict[bytes, AESGCM] = {key_id.encode(): AESGCM(key) for key_id, key in ring.keys.items()}
        self._write = ring.write.encode()
        self._accepts_plain = ring.accepts_plain

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal each."""
        return self.seal(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open each; raises EncryptionError."""
        return self.open(payloads)

    def seal(self, payloads: Iterable[Payload]) -> list[Payload]:
        """Each as a payload that only a holder of the key can read."""
        return [self._seal(payload) for payload in payloads]

    def open(self, payloads: Iterable[Payload]) -> list[Payload]:
        """Each as it was before.

        Raises:
            EncryptionError: no key for it, changed since it was written, or plain where that is refused.

        """
        return [self._open(payload) for payload in payloads]

    def _seal(self, payload: Payload) -> Payload:
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._write].encrypt(nonce, payload.SerializeToString(), _bound(ALGORITHM, self._write))
        metadata = {ENCODING: ENCRYPTED, CIPHER: ALGORITHM, KEY_ID: self._write}
        return Payload(metadata=metadata, data=nonce + sealed)

    def _open(self, payload: Payload) -> Payload:
        if not is_encrypted(payload):
            if self._accepts_plain:
                return payload
            raise EncryptionError(
                "A payload is not encrypted, and this process refuses such.",
                code="payload_not_encrypted",
                next_step=f"Set {PREFIX}PLAIN=accept while workflows from before encryption are kept.",
            )
        key_id, algorithm = _key_id(payload), payload.metadata.get(CIPHER)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise _no_key(payload, "this process does not have it")
        if algorithm != ALGORITHM or len(payload.data) < NONCE_BYTES + TAG_BYTES:
            raise _tampered(key_id)
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, _bound(algorithm, key_id)))
        except self._broken:
            raise _tampered(key_id) from None


class CommandPayloads(PydanticPayloadConverter):
    """Says what is wrong with a command that somebody sent as plain JSON, as the client says it of its own.

    Of commands alone: a result or an input that cannot be read is no caller's mistake, and must not end a workflow.
    """

    def __init__(self) -> None:
        """Share what reads and writes JSON: the SDK makes a converter for each workflow that it keeps.

        With the adapters of its own types, each of them would cost 0.4 ms of CPU a union, and 15 kB (measured).
        """
        CompositePayloadConverter.__init__(self, *_shared_converters())

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """The values; raises ApplicationError for a command that is none."""
        try:
            return super().from_payloads(payloads, type_hints)
        except ValidationError as error:
            if not any(inspect.isclass(hint) and issubclass(hint, Command) for hint in type_hints or []):
                raise
            refusal = bad_input(error)
        raise to_application_error(refusal) from None


@cache
def _shared_converters() -> tuple[EncodingPayloadConverter, ...]:
    return tuple(PydanticPayloadConverter().converters.values())


class KeylessCodec(PayloadCodec):
    """Where encryption is off: passes everything through, and says so when something needs a key.

    Without it a worker that lacks the keys would drop encrypted signals and go on: the SDK does that with a signal
    that it cannot convert. So the whole workflow task fails, and is kept for a worker that has them.
    """

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """As they are."""
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """As they are; raises EncryptionError for one that is encrypted."""
        for payload in payloads:
            if is_encrypted(payload):
                raise _no_key(payload, "encryption is off in this process")
        return list(payloads)


class EncryptedFailures(DefaultFailureConverterWithEncodedAttributes):
    """Error texts and stack traces travel sealed, but for ours about keys: these are for who has none."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Add `exception` to `failure`."""
        if isinstance(exception, EncryptionError):
            _say_plainly(exception, payload_converter, failure)
        else:
            super().to_failure(exception, payload_converter, failure)


def _say_plainly(error: EncryptionError, payload_converter: PayloadConverter, failure: Failure) -> None:
    DefaultFailureConverter().to_failure(error, payload_converter, failure)
    failure.stack_trace = ""


PLAIN: Final = DataConverter(payload_converter_class=CommandPayloads)
"""What everybody reads and writes before encryption."""


def data_converter(environ: Mapping[str, str] | None = None) -> DataConverter:
    """The converter of every client, worker and replayer, as the environment (by default the process's own) says.

    Raises:
        ConfigurationError: the keys cannot be used.

    """
    return converter_of(load_keys(os.environ if environ is None else environ))


def converter_of(ring: KeyRing | None) -> DataConverter:
    """The converter that uses these keys, or none."""
    if ring is None:
        return replace(PLAIN, payload_codec=KeylessCodec())
    return replace(PLAIN, payload_codec=EncryptionCodec(ring), failure_converter_class=EncryptedFailures)


def is_encrypted(payload: Payload) -> bool:
    """Is a key needed to read it?"""
    return payload.metadata.get(ENCODING) == ENCRYPTED


def _key_id(payload: Payload) -> bytes:
    return payload.metadata.get(KEY_ID, b"")


def _bound(algorithm: bytes, key_id: bytes) -> bytes:
    """What a payload's metadata says of it, so that changing that breaks the seal."""
    return b"turnkeeper\0" + algorithm + b"\0" + key_id


def _no_key(payload: Payload, why: str) -> EncryptionError:
    return EncryptionError(
        f"A payload is encrypted with the key {_shown(_key_id(payload))}, and {why}.",
        code="key_missing",
        next_step=f"Give every worker and client the same keys ({KEYS_FILE}), and start it again.",
    )


def _tampered(key_id: bytes) -> EncryptionError:
    return EncryptionError(
        f"A payload does not open with the key {_shown(key_id)}: it was changed after it was written, "
        "or another key has that id.",
        code="payload_tampered",
        next_step="Compare the keys of all workers and clients; then ask who else writes to the Temporal server.",
    )


def _shown(key_id: bytes) -> str:
    return repr(key_id.decode(errors="replace")[:_ID_SHOWN])
