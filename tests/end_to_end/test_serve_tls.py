"""``wrn serve --tls-cert`` over HTTP and gRPC: clients that trust the certificate, others, and a reload."""

from __future__ import annotations

import http.client
import signal
import ssl
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cryptography", reason="needs cryptography to make certificates")
grpc = pytest.importorskip("grpc", reason="needs the extra grpc")

import wideresnet  # noqa: E402
from certificates import write_certificate  # noqa: E402
from commands import Wrn  # noqa: E402
from server_process import Server, image, serving, write_tiny  # noqa: E402

NAME = "wrn_10_1.tiny"


class TlsServer(Server):
    """A server whose certificate is trusted as long as the file is the one that it has."""

    def open_connection(self) -> http.client.HTTPConnection:
        context = ssl.create_default_context(cafile=str(self.log.parent / "tls.pem"))
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)


def test_both_ports_speak_tls_alone_and_sighup_reads_the_certificate_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(tmp_path)
    certificate, _ = write_certificate(tmp_path)
    options = ("--tls-cert", "tls.pem", "--tls-key", "tls.key", "--grpc-port", "0", "--threads", "1")
    with serving(tmp_path, *options, kind=TlsServer) as server:
        log = server.log.read_text()
        assert f"listening on https://127.0.0.1:{server.port}\n" in log
        assert "tls.pem: valid until " in log
        assert server.ask("POST", "/v1/classify", image())[0] == 200
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        client = wideresnet.Client(f"https://127.0.0.1:{server.port}")
        assert client.classify(image())["results"][0]["predictions"]
        client.close()
        monkeypatch.delenv("SSL_CERT_FILE")
        stranger = wideresnet.Client(f"https://127.0.0.1:{server.port}")
        with pytest.raises(wideresnet.WrnError, match="certificate verify failed") as refused:
            stranger.models()
        assert refused.value.hint == "SSL_CERT_FILE=FILE names certificates to trust"
        with server.connect() as plain:            # HTTP on the port of HTTPS
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP/1.1 200")

        triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")

        def infer() -> np.ndarray:
            options = {"ssl": True, "root_certificates": str(certificate)}
            client = triton.InferenceServerClient(server.grpc_address, **options)
            encoded = triton.InferInput("pictures", [1], "BYTES")
            encoded.set_data_from_numpy(np.array([image()], dtype=object))
            try:
                return client.infer(NAME, [encoded], client_timeout=30).as_numpy("logits")
            finally:
                client.close()

        assert infer().shape == (1, 10)
        plain_client = triton.InferenceServerClient(server.grpc_address)
        with pytest.raises(triton.InferenceServerException, match="UNAVAILABLE"):
            plain_client.is_server_live(client_timeout=5)
        plain_client.close()

        before = certificate.read_bytes()
        connection = server.open_connection()
        connection.connect()
        write_certificate(tmp_path)
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: server.log.read_text().count("valid until") == 2)
        assert ssl.get_server_certificate(("127.0.0.1", server.port)).strip() == certificate.read_text().strip()
        assert ssl.PEM_cert_to_DER_cert(before.decode()) == connection.sock.getpeercert(binary_form=True)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        assert infer().shape == (1, 10)            # trusts the new certificate only
        server.until(lambda: b'wrn_reloads_total{result="done"} 1.0' in server.ask("GET", "/metrics")[1])
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    assert "Traceback" not in server.log.read_text()


def test_a_certificate_that_cannot_be_used_is_one_sentence_before_any_work(wrn: Wrn, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    _, other = write_certificate(tmp_path, "other")
    for options, error in (
        (("--tls-cert", certificate, "--tls-key", other), f"error: {certificate} and {other} are no certificate and"),
        (("--tls-cert", certificate, "--tls-key", tmp_path), f"error: cannot read {tmp_path}: Is a directory"),
        (("--tls-cert", certificate), "error: --tls-cert has no effect without --tls-key"),
        (("--tls-key", key), "error: --tls-key has no effect without --tls-cert"),
        (("--tls-cert", certificate, "--tls-key", key, "--ray", "local"), "error: --tls-cert, --tls-key have no"),
    ):
        done = wrn("serve", "-m", "none", "--port", "0", *map(str, options))
        assert done.code == 2, options
        assert done.err.splitlines()[0].startswith(error)
        if "without" in error:
            assert done.err.splitlines()[1] == f"hint:  add {error.split()[-1]} FILE"
