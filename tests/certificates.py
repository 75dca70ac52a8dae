"""Certificates of a CA of our own, made for one test, and servers that show them: nothing here is kept or trusted."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.listening import listening
from turnkeeper.dev.ports import LOOPBACK

HERE: Final = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK)))
ELSEWHERE: Final = (x509.DNSName("elsewhere.invalid"),)
DAY: Final = timedelta(days=1)
CHUNK: Final = 64 * 1024


@dataclass(frozen=True)
class Pair:
    """Files with a certificate and its private key, as PEM."""

    certificate: Path
    key: Path


class Authority:
    """A CA. `certificate` is what those who trust it are given."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._made = 0
        built = _builder(self._name, self._name, self._key, -2 * DAY, 2 * DAY)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(
        self, names: Sequence[x509.GeneralName] = HERE, *, begins: timedelta = -DAY, ends: timedelta = DAY
    ) -> Pair:
        """A certificate for these names, good from `begins` to `ends`, seen from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(_name("leaf"), self._name, key, begins, ends)
        built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self._made += 1
        stem = f"{self.certificate.stem}-{self._made}"
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        pair.certificate.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: timedelta, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


def server_context(shows: Pair, *, wants: Path | None = None, protocol: str | None = None) -> ssl.SSLContext:
    """TLS of a server. `wants`: the CA that clients must have a certificate of; `protocol`: as ALPN names it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shows.certificate, shows.key)
    if protocol is not None:
        context.set_alpn_protocols([protocol])
    if wants is not None:
        context.load_verify_locations(wants)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def tls_before(port: int, context: ssl.SSLContext | None, host: str = LOOPBACK) -> AsyncIterator[int]:
    """A proxy in front of a server on loopback that takes TLS off; gives its port. Without a context in clear."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection(LOOPBACK, port)
        try:
            await asyncio.gather(_pump(reader, upstream), _pump(upstream_reader, writer))
        finally:
            upstream.transport.abort()

    async with listening(serve, host=host, context=context) as own_port:
        yield own_port


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()
