"""TLS of both ports: one certificate and its key, checked before any work, and read again at SIGHUP.

New connections get what was read last, open ones keep theirs. Clients are not asked for certificates.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

from wideresnet.errors import ConfigError, os_errors_as

_HINT = "--tls-cert FILE --tls-key FILE takes PEM files: a certificate with its chain, and the key of the first"


class Certificate:
    """The certificate and the key of a service. ``context`` is that of HTTP, ``pem`` (key and chain) that of gRPC."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self.context = _server_context()
        self.note = self.read()

    def read(self) -> str:
        """Use what is in the files now; return a line about it. Raises ConfigError: what was read before stays."""
        certificate, key = self._files
        trial = _server_context()
        pem = _read(key), _read(certificate)
        for context in (trial, self.context):
            try:
                context.load_cert_chain(certificate, key, _refuse_password)
            except ValueError as error:
                raise ConfigError(f"{key} is encrypted", f"openssl pkey -in {key} decrypts it") from error
            except ssl.SSLError as error:
                reason = (error.reason or "not in PEM form").replace("_", " ").lower()
                raise ConfigError(f"{certificate} and {key} are no certificate and its key: {reason}", _HINT) from error
        self.pem = pem
        return f"{certificate}: {_validity(trial, certificate)}"


def read_certificate(certificate: Path | None, key: Path | None) -> Certificate | None:
    """Return the certificate of the settings, or None without one. Raises ConfigError."""
    return Certificate(certificate, key) if certificate and key else None


def _read(file: Path) -> bytes:
    with os_errors_as(ConfigError, f"cannot read {file}", _HINT):
        return file.read_bytes()


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _refuse_password() -> str:
    raise ValueError                               # OpenSSL would ask at the terminal


def _validity(server: ssl.SSLContext, certificate: Path) -> str:
    """Return until when a certificate is valid, or why it is not, as a client that trusts it finds in a handshake."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for end in (*ends, *ends):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return f"clients will refuse this certificate: {error.verify_message}"
    return f"valid until {(ends[0].getpeercert() or {}).get('notAfter', 'an unknown date')}"
