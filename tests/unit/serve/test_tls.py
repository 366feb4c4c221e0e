"""The certificate of a service: what is refused before any work, what is said, and what a reload takes over."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="needs cryptography to make certificates")

from certificates import write_certificate
from wideresnet.errors import ConfigError
from wideresnet.serve.service import Service
from wideresnet.serve.tls import Certificate, read_certificate


def test_a_certificate_and_its_key_are_read_and_its_last_day_is_said(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    certificate = Certificate(*files)
    assert certificate.note.startswith(f"{files[0]}: valid until ")
    assert certificate.note.endswith(" GMT")
    assert certificate.pem == (files[1].read_bytes(), files[0].read_bytes())
    assert certificate.context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert read_certificate(None, None) is None


@pytest.mark.parametrize(("days", "reason"), [((-5, -1), "certificate has expired"), ((1, 5), "not yet valid")])
def test_an_invalid_date_is_a_warning(tmp_path: Path, days: tuple[int, int], reason: str) -> None:
    note = Certificate(*write_certificate(tmp_path, "tls", *days)).note
    assert note.startswith(f"{tmp_path / 'tls.pem'}: clients will refuse this certificate: ")
    assert reason in note


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (certificate, key), (other, other_key) = write_certificate(tmp_path), write_certificate(tmp_path, "other")
    _, encrypted = write_certificate(tmp_path, "encrypted", password=b"secret")
    text, none = tmp_path / "text.pem", tmp_path / "none.pem"
    text.write_text("text")
    for files, words in (
        ((certificate, other_key), "are no certificate and its key: key values mismatch"),
        ((other, key), "are no certificate and its key: key values mismatch"),
        ((text, key), "are no certificate and its key: not in pem form"),
        ((certificate, text), "are no certificate and its key: not in pem form"),
        ((key, certificate), "are no certificate and its key: not in pem form"),
        ((certificate, encrypted), f"{encrypted} is encrypted"),
        ((certificate, none), f"cannot read {none}: No such file or directory"),
        ((none, key), f"cannot read {none}: No such file or directory"),
        ((certificate, tmp_path), f"cannot read {tmp_path}: Is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            Certificate(*files)
        assert caught.value.message.endswith(words)
        assert caught.value.hint


def test_a_reload_takes_the_new_certificate_or_says_why_not(
    make_service: Callable[..., Service], tmp_path: Path
) -> None:
    certificate, key = write_certificate(tmp_path)
    service, lines = make_service(tls_cert=certificate, tls_key=key), list[str]()
    service._write = lines.append
    assert service.certificate
    first = service.certificate.pem
    _, other = write_certificate(tmp_path, "other")
    key.write_bytes(other.read_bytes())
    asyncio.run(service.reload())
    assert service.certificate.pem == first
    assert lines[0].startswith("reload failed, the open models stay: ")
    assert "key values mismatch" in lines[0]
    assert b'wrn_reloads_total{result="failed"} 1.0' in service.metrics.render()
    write_certificate(tmp_path)
    service.repository.load = lambda: asyncio.sleep(0)         # type: ignore[method-assign]
    asyncio.run(service.reload())
    assert service.certificate.pem == (key.read_bytes(), certificate.read_bytes()) != first
    assert lines[1].startswith(f"{certificate}: valid until ")
