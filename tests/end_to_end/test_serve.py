"""``wrn serve`` as a process behind a socket, with faults of clients and networks."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import Wrn
from fakes import tiny_images
from server_process import Server, image, serving, write_tiny
from shared import SHARED, needs_shared
from wideresnet.cli.main import run

for package in ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra serve")

FIXTURES = Path(__file__).parents[1] / "golden" / "fixtures"
NAME = "wrn_10_1.tiny"
LIMIT = 200_000                                    # of a body, for the server that most tests share


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    write_tiny(folder)
    with serving(folder, "--max-bytes", str(LIMIT), "--threads", "1") as server:
        yield server


def head(length: int | str, *more: str) -> bytes:
    lines = ["POST /v1/classify HTTP/1.1", "Host: a", f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status(line: bytes) -> int:
    return int(line.split()[1])


def test_every_kind_of_image_is_answered(server: Server) -> None:
    for path in sorted(FIXTURES.iterdir()):
        code, body = server.ask("POST", "/v1/classify", path.read_bytes())
        assert code == 200, path.name
        assert len(json.loads(body)["results"][0]["predictions"]) == 5


@needs_shared("pictures", "bad")
def test_every_bad_file_is_4xx_and_the_server_goes_on(server: Server) -> None:
    before = server.gauge("process_resident_memory_bytes")
    for path in sorted((SHARED / "pictures" / "bad").iterdir()):
        code, body = server.ask("POST", "/v1/classify", path.read_bytes())
        assert 400 <= code < 500, path.name
        assert json.loads(body)["hint"] or json.loads(body)["detail"]
    assert server.gauge("process_resident_memory_bytes") < before + 50 * 2**20
    assert server.ask("POST", "/v1/classify", image())[0] == 200


def test_aborted_requests_leave_nothing_behind(server: Server) -> None:
    body = image()
    cuts = [b"", b"POST", head(len(body))[:40], head(len(body)), head(len(body)) + body[:50], head(len(body)) + body]
    for sent in cuts * 20:
        with server.connect() as client:
            client.sendall(sent)
    server.until_empty()
    assert server.ask("POST", "/v1/classify", body)[0] == 200


def test_half_a_multipart_body_is_400(server: Server) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nab'
    for damaged in (body, b"--x\r\nA\r: b\r\n\r\n"):
        code, _ = server.ask("POST", "/v1/classify", damaged, {"Content-Type": "multipart/form-data; boundary=x"})
        assert code == 400
    assert len(server.log.read_text().splitlines()) == 3       # clients cannot fill the log


def test_a_body_without_an_end_is_cut_off_while_it_is_read(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 2**30:
                client.sendall(b"4000\r\n" + bytes(0x4000) + b"\r\n")
                sent += 0x4000
        assert sent < 20 * 2**20                   # what lay in the sockets' buffers
    assert b'wrn_failures_total{kind="large"} 0.0' not in server.ask("GET", "/metrics")[1]
    server.until_empty()


def test_a_body_announced_as_too_large_is_refused_before_it_is_read(server: Server) -> None:
    with server.connect() as client:
        client.sendall(head(LIMIT + 1, "Expect: 100-continue"))
        assert status(client.recv(4096)) == 413


def test_an_endless_head_is_cut_off(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            client.sendall(10_000 * (b"X-A: " + b"a" * 10_000 + b"\r\n"))


def test_other_protocols_are_400_and_counted(server: Server) -> None:
    """The parser refuses them before the application; metrics and log have them nevertheless."""
    for _ in range(2):
        with server.connect() as client:
            client.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            assert status(client.recv(4096)) == 400
    metrics = server.ask("GET", "/metrics")[1].decode()
    match = re.search(r'^wrn_requests_total\{model="",route="other",status="400"\} (\S+)$', metrics, re.MULTILINE)
    assert match
    assert float(match[1]) >= 2


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("GET /healthz HTTP/1.1",), 400),
        (("GET /healthz HTTP/1.1", "Host: a", "Host: a"), 400),
        (("GET /healthz HTTP/1.1", "Host: a/b"), 400),
        (("GET /healthz HTTP/1.1", "Host: a"), 200),
        (("GET /healthz HTTP/1.0",), 200),
        (("GET http://a/healthz HTTP/1.1", "Host: a"), 200),
        (("POST /v1/classify HTTP/1.1", "Host: a", "Content-Length: 1", "Content-Length: 2"), 400),
        (("POST /v1/classify HTTP/1.1", "Host: a", "Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (("get /healthz HTTP/1.1", "Host: a"), 400),
        (("GET /v2/models/%00 HTTP/1.1", "Host: a"), 404),
        (("GET /v2/models/%ff%fe HTTP/1.1", "Host: a"), 404),
        (("GET /v2/models/a%2Fb HTTP/1.1", "Host: a"), 404),
        (("POST /v1/classify?k=%zz HTTP/1.1", "Host: a", "Content-Length: 0"), 422),
        (("PUT /v1/classify HTTP/1.1", "Host: a", "Content-Length: 0"), 405),
    ],
)
def test_a_head_is_answered_as_http_says(server: Server, lines: tuple[str, ...], code: int) -> None:
    """Host, lengths, methods and paths that HTTP forbids are 4xx; a 405 lists the methods."""
    with server.connect() as client:
        client.sendall("\r\n".join((*lines, "", "")).encode())
        answer = client.recv(4096)
        assert status(answer) == code
        assert (b"\r\nallow: POST\r\n" in answer) == (code == 405)


def test_http_1_0_keeps_its_connection_when_it_asks(server: Server) -> None:
    """As ``ab -k`` needs: the response says keep-alive, and the next request on the connection is answered."""
    body = image()
    lines = "POST /v1/classify HTTP/1.0", "Connection: Keep-Alive", f"Content-Length: {len(body)}"
    with server.connect() as client:
        for _ in range(3):
            client.sendall("\r\n".join((*lines, "", "")).encode() + body)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert (answer.status, answer.headers["Connection"]) == (200, "keep-alive")
            assert len(json.loads(answer.read(int(answer.headers["Content-Length"])))["results"]) == 1
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        last = b""
        while piece := client.recv(4096):          # until it is closed
            last += piece
        assert b"connection: close" in last


@pytest.mark.skipif(shutil.which("ab") is None, reason="needs ab (apache2-utils)")
def test_ab_keeps_its_connections(server: Server, tmp_path: Path) -> None:
    """ApacheBench itself counts every request as one on a kept connection."""
    (tmp_path / "a.png").write_bytes(image())
    url = f"http://127.0.0.1:{server.port}/v1/classify"
    command = ["ab", "-l", "-k", "-n", "20", "-c", "2", "-p", str(tmp_path / "a.png"), "-T", "image/png", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert re.search(r"Keep-Alive requests: +20\n", done.stdout)
    assert re.search(r"Failed requests: +0\n", done.stdout)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    ("options", "output"),
    [
        (("-d", "@rgb.png"), "--data-binary"),
        (("-H", "Content-Type: image/png", "-d", "@rgb.png"), "--data-binary"),
        (("-F", "file=rgb.png"), "with the @"),
        (("-T", "rgb.png"), "--data-binary"),
        (("-F", "file=@rgb.png", "-F", "k=3"), "?k=VALUE"),
        (("-F", "file=@rgb.png", "-F", "caption=cat"), '"ignored_fields": ["caption"]'),
        (("--data-binary", "@rgb.png"), '"predictions"'),
    ],
)
def test_curl_is_answered_or_gets_a_hint(server: Server, options: tuple[str, ...], output: str) -> None:
    """Each usual way to send a file is answered, or gets a hint."""
    command = ["curl", "-s", *options, f"http://127.0.0.1:{server.port}/v1/classify"]
    done = subprocess.run(command, cwd=FIXTURES, capture_output=True, text=True, timeout=60)
    assert output in done.stdout


def test_requests_on_one_connection_are_answered_one_after_the_other(server: Server) -> None:
    body = image()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for query, content, code in (("", body, 200), ("?k=0", body * 30, 422), ("", body, 200)):
        connection.request("POST", f"/v1/classify{query}", content)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == code
    connection.close()


def test_sighup_reloads_the_model_and_loses_no_request(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    codes: list[int] = []
    with serving(tmp_path, "--threads", "1") as server:

        def graph() -> str:
            return json.loads(server.ask("GET", "/v1/models")[1])["models"][0]["graph_sha256"]

        def ask() -> None:
            while not stop.is_set():
                codes.append(server.ask("POST", "/v1/classify", image())[0])

        stop, before = threading.Event(), graph()
        asking = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asking:
            thread.start()
        write_tiny(tmp_path, seed=1)
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: graph() != before)
        (tmp_path / "tiny" / "model.onnx").write_bytes(b"broken")
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: b'wrn_reloads_total{result="failed"} 1.0' in server.ask("GET", "/metrics")[1])
        stop.set()
        for thread in asking:
            thread.join()
    assert set(codes) == {200}
    assert "the open models stay" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_sigterm_answers_open_requests_and_exits_with_0(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    body = image()
    with serving(tmp_path, "--threads", "1") as server, server.connect() as idle, server.connect() as client:
        client.sendall(head(len(body)) + body[:50])
        server.until(lambda: server.gauge("wrn_requests_in_flight") == 1)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: server.ask("GET", "/v2/health/ready")[0] == 503)
        assert server.ask("GET", "/v2/health/live")[0] == 200
        assert server.ask("POST", "/v1/classify", body)[0] == 503
        client.sendall(body[50:])
        assert status(client.recv(65536)) == 200
        assert server.process.wait(30) == 0
        assert idle.recv(1) == b""


def test_clients_on_kept_connections_are_answered_until_the_end(tmp_path: Path) -> None:
    """24 clients: each response is complete, and the last one says that it is the last."""
    write_tiny(tmp_path)
    body, outcomes = image(), []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            while True:
                connection.request("POST", "/v1/classify", body)
                answer = connection.getresponse()
                answer.read()
                assert answer.status in (200, 503)
                if answer.headers["Connection"] == "close":
                    return outcomes.append("answered")
                time.sleep(0.1)
        except OSError as error:
            outcomes.append(repr(error))

    with serving(tmp_path, "--threads", "1") as server:
        clients = [threading.Thread(target=ask) for _ in range(24)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join()
        assert server.process.wait(30) == 0
    assert outcomes == ["answered"] * 24


def test_a_client_that_sends_a_large_body_to_a_draining_server_gets_its_503(tmp_path: Path) -> None:
    """The body is read to its end: to close the connection before would reset it, and the response would be lost."""
    write_tiny(tmp_path)
    with serving(tmp_path, "--threads", "1") as server, server.connect() as holder:
        holder.sendall(head(100) + b"half")
        server.until(lambda: server.gauge("wrn_requests_in_flight") == 1)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: server.ask("GET", "/v2/health/ready")[0] == 503)
        for _ in range(5):
            assert server.ask("POST", "/v1/classify", bytes(16 * 2**20))[0] == 503


def test_more_connections_than_files_are_one_line_a_second(tmp_path: Path) -> None:
    """Connections beyond the limit wait, and are accepted when others have ended."""
    resource = pytest.importorskip("resource", reason="needs limits on open files")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit")
    write_tiny(tmp_path)
    with serving(tmp_path, "--threads", "1") as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (48, 48))
        started = time.monotonic()
        waiting = [server.connect() for _ in range(100)]
        time.sleep(2)
        for client in waiting:
            client.close()
        assert server.ask("POST", "/v1/classify", image())[0] == 200
        lines = server.log.read_text().splitlines()
        seconds = time.monotonic() - started
    refused = [line for line in lines if line.startswith("cannot accept connections: ")]
    assert 1 <= len(refused) <= 1 + seconds
    assert len(lines) == 3 + len(refused)


def test_unanswered_requests_at_the_end_are_exit_code_1(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    with serving(tmp_path, "--threads", "1", "--drain", "0.1") as server, server.connect() as client:
        client.sendall(head(100) + b"half")
        server.until(lambda: server.gauge("wrn_requests_in_flight") == 1)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 1


def test_settings_come_from_flags_then_the_environment_then_the_file(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    lines = "cors: https://a.example", "queue: 5", "max_images: 4", "max_bytes: 1000", "threads: 1"
    (tmp_path / "serve.yaml").write_text("\n".join(lines))
    options = ("--config", "serve.yaml", "--max-bytes", "3000")
    with serving(tmp_path, *options, WRN_SERVE_MAX_IMAGES="3", WRN_SERVE_TOKEN="sesame") as server:
        limits = json.loads(server.ask("GET", "/openapi.json")[1])["info"]["x-limits"]
        assert (limits["images inside"], limits["images of a request"], limits["bytes of a body"]) == (5, 3, 3000)
        assert server.ask("GET", "/v1/models")[0] == 401


@pytest.mark.parametrize(("line", "words"), [
    ("queue: yes", "'--queue'"), ("queue: 1.9", "'--queue'"), ("deadline: on", "'--deadline'"),
    ("queue: 5", "no model called 'none'"), ("deadline: 2.5", "no model called 'none'"), ("explain: no", "no model"),
    ("config: other.yaml", "no setting called 'config'"), ("queue: 5\nqueue: 6", "it has the key 'queue' twice"),
])  # fmt: skip
def test_values_of_the_file_are_read_as_those_of_options(tmp_path: Path, wrn: Wrn, line: str, words: str) -> None:
    """To Python yes and 1.9 are the whole number 1."""
    (tmp_path / "serve.yaml").write_text(line)
    done = wrn("serve", "--port", "0", "-m", "none", "--config", str(tmp_path / "serve.yaml"))
    assert (done.code, words in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-m", "no_such_model"), "no model called 'no_such_model'"),
        (("--config", "none.yaml"), "cannot read none.yaml"),
        (("--config", "wrong.yaml"), "wrong.yaml: no setting called 'prot'"),
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1:"),
    ],
)
def test_invalid_settings_are_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "wrong.yaml").write_text("prot: 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["wrn", "serve", "--port", "0", *options])
    with pytest.raises(SystemExit) as stopped:
        run()
    assert stopped.value.code == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_tritons_client_infers(server: Server) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    name, batch = "wrn_10_1.tiny", tiny_images(3, 32)
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert [client.is_server_live(), client.is_server_ready(), client.is_model_ready(name, "1")] == [True] * 3
    assert client.get_model_metadata(name)["inputs"][0]["shape"] == [-1, 32, 32, 3]

    def infer(binary: bool, compression: str | None) -> Any:
        tensor = triton.InferInput("images", list(batch.shape), "UINT8")
        tensor.set_data_from_numpy(batch, binary_data=binary)
        outputs = [triton.InferRequestedOutput("logits", binary_data=binary)]
        return client.infer(
            name, [tensor], outputs=outputs, request_id="7",
            request_compression_algorithm=compression, response_compression_algorithm=compression,
        ).as_numpy("logits")  # fmt: skip

    logits = infer(True, None)
    assert logits.shape == (3, 10)
    for binary in (True, False):
        for compression in (None, "gzip", "deflate"):
            np.testing.assert_allclose(infer(binary, compression), logits, atol=1e-5)
    encoded = triton.InferInput("pictures", [3], "BYTES")
    encoded.set_data_from_numpy(np.array([image(n) for n in range(3)], dtype=object))
    np.testing.assert_allclose(client.infer(name, [encoded]).as_numpy("logits"), logits, atol=1e-5)
    classes = client.infer(name, [encoded], outputs=[triton.InferRequestedOutput("logits", class_count=1)])
    best = [int(word.split(b":")[1]) for word in classes.as_numpy("logits")[:, 0]]
    assert best == logits.argmax(axis=1).tolist()
    with pytest.raises(Exception, match="no model called 'other'"):
        client.infer("other", [encoded])
    client.close()


def test_other_calls_of_tritons_client(server: Server) -> None:
    """Configuration, index and statistics are served; other calls get a hint."""
    triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    name = "wrn_10_1.tiny"
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert {"model_configuration", "statistics"} <= set(client.get_server_metadata()["extensions"])
    config = client.get_model_config(name)
    assert (config["name"], config["input"][0]["dims"], config["output"][0]["dims"]) == (name, [32, 32, 3], [10])
    assert client.get_model_repository_index() == [{"name": name, "version": "1", "state": "READY"}]
    tensor = triton.InferInput("images", [2, 32, 32, 3], "UINT8")
    tensor.set_data_from_numpy(tiny_images(2, 32))
    (before,) = client.get_inference_statistics(name, "1")["model_stats"]
    assert client.async_infer(name, [tensor]).get_result().as_numpy("logits").shape == (2, 10)
    answer = client.infer(name, [tensor], priority=1, sequence_id=7, sequence_start=True, sequence_end=True)
    ignored = answer.get_response()["parameters"]["ignored"]
    assert set(ignored.split(", ")) == {"priority", "sequence_id", "sequence_start", "sequence_end"}

    def grown() -> bool:
        (after,) = client.get_inference_statistics()["model_stats"]
        success = [statistics["inference_stats"]["success"]["count"] for statistics in (before, after)]
        return after["inference_count"] == before["inference_count"] + 4 and success[1] == success[0] + 2

    server.until(grown)
    output = triton.InferRequestedOutput("logits")
    output.set_shared_memory("region", 80)
    for refused, message in (
        (lambda: client.infer(name, [tensor], outputs=[output]), "shared memory"),
        (lambda: client.infer(name, [tensor], query_params={"a": 1}), "has no parameter 'a'"),
        (lambda: client.get_model_config("other"), "no model called 'other'"),
        (lambda: client.get_model_config(name, "2"), "has no version '2'"),
        (lambda: client.load_model(name), "--admin-token-file FILE"),
        (lambda: client.unload_model(name), "--admin-token-file FILE"),
        (lambda: client.get_log_settings(), "wrn serve --log json"),
        (lambda: client.update_log_settings({"log_info": True}), "wrn serve --log json"),
        (lambda: client.get_trace_settings(name), "GET /metrics"),
        (lambda: client.get_system_shared_memory_status(), "in the body"),
        (lambda: client.register_system_shared_memory("a", "/a", 10), "in the body"),
        (lambda: client.get_cuda_shared_memory_status("a"), "in the body"),
    ):
        with pytest.raises(Exception, match=message):
            refused()
    client.close()


def test_a_folder_is_polled_and_tritons_client_loads_and_unloads(tmp_path: Path) -> None:
    """While versions come by renaming and SIGHUP reloads all, no request is lost."""
    triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    admin, answers, stop = {"Authorization": "Bearer sesame"}, list[int](), threading.Event()
    (tmp_path / "models" / "m").mkdir(parents=True)
    write_tiny(tmp_path)
    options = ("--models", "models", "--poll", "0.05", "--threads", "1", "--streams", "1")
    with serving(tmp_path, *options, WRN_SERVE_ADMIN_TOKEN="sesame") as server:
        client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")

        def add_version(version: str) -> None:
            write_tiny(tmp_path / "made", int(version))
            (tmp_path / "made" / "tiny").rename(tmp_path / "models" / "m" / version)
            server.until(lambda: client.get_model_metadata("m")["versions"] == [version] if states()["m"] else False)

        def states() -> dict[str, bool]:
            return {item["name"]: item["state"] == "READY" for item in client.get_model_repository_index()}

        def ask() -> None:
            while not stop.is_set():
                answers.append(server.ask("POST", "/v1/classify?model=m", image(1))[0])

        server.until(lambda: states() == {NAME: True, "m": False})
        add_version("1")
        with pytest.raises(Exception, match="the admin token is required"):
            client.unload_model("m")
        client.unload_model("m", headers=admin)
        assert (client.is_model_ready("m"), states()) == (False, {NAME: True, "m": False})
        client.load_model("m", headers=admin)
        assert client.is_model_ready("m", "1")
        with pytest.raises(Exception, match="'config' is not supported"):
            client.load_model("m", headers=admin, config="{}")
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        add_version("2")
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: server.log.read_text().count(f"opened {NAME}") == 2)
        client.load_model("m", headers=admin)
        add_version("10")
        stop.set()
        for thread in threads:
            thread.join()
        assert {*answers} == {200}
        client.close()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


@pytest.mark.slow
def test_a_thousand_idle_connections_block_no_other_client(server: Server) -> None:
    idle = [server.connect() for _ in range(1000)]
    for number, client in enumerate(idle):
        client.sendall((b"", b"POST /v1", head(1000), head(1000) + b"abc")[number % 4])
    for number in range(20):
        assert server.ask("POST", "/v1/classify", image(number % 3))[0] == 200
    for client in idle:
        client.close()
    server.until_empty()


@pytest.mark.slow
def test_memory_stays_flat(server: Server) -> None:
    def ask(count: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for number in range(count):
            connection.request("POST", "/v1/classify", image(number % 3) if number % 5 else b"none")
            connection.getresponse().read()
        connection.close()

    ask(2000)
    before = server.gauge("process_resident_memory_bytes")
    threads = [threading.Thread(target=ask, args=(1000,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.gauge("process_resident_memory_bytes") < before + 20 * 2**20


def test_the_client_of_the_package(server: Server) -> None:
    from wideresnet.client import Client, ServiceError

    client = Client(f"http://127.0.0.1:{server.port}")
    answer = client.classify(FIXTURES / "rgb.png", image(), k=2)
    assert [len(result["predictions"]) for result in answer["results"]] == [2, 2]
    assert client.models()["default"] == "wrn_10_1.tiny"
    with pytest.raises(ServiceError, match="not an image"):
        client.classify(b"none")
    client.close()


def test_the_example_client_classifies_a_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image())
    (tmp_path / "b.jpg").write_bytes(b"none")
    program = Path(__file__).parents[2] / "examples" / "client.py"
    command = [sys.executable, str(program), str(tmp_path), "--url", f"http://127.0.0.1:{server.port}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(r"a\.png: \S+ \(\d+\.\d%\)\n.*b\.jpg: the service answers 400", done.stdout)
