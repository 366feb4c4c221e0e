"""``wrn serve --grpc-port`` as a process, and clients of other projects."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wideresnet
from commands import Wrn
from fakes import calibrated_bundle, tiny_bundle, tiny_images
from server_process import Server, image, serving, write_tiny
from wideresnet.bundle import write_bundle
from wideresnet.machine import available_cpus
from wideresnet.records import ScoreQuantiles, SetModel

grpc = pytest.importorskip("grpc", reason="needs the extra grpc")
pytest.importorskip("grpc_reflection", reason="needs the extra grpc")

from wideresnet.serve.grpc.descriptors import INFERENCE, message_class  # noqa: E402

TWO_CPUS = pytest.mark.skipif(available_cpus() < 2, reason="two workers need two CPUs")
METHOD, NAME = f"/{INFERENCE}/ModelInfer", "wrn_10_1.tiny"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("grpc")
    write_tiny(folder)
    with serving(folder, "--grpc-port", "0", "--threads", "1") as server:
        yield server


def request(batch: np.ndarray) -> bytes:
    tensor = {"name": "images", "datatype": "UINT8", "shape": batch.shape}
    kind = message_class("inference.ModelInferRequest")
    return kind(model_name=NAME, inputs=[tensor], raw_input_contents=[batch.tobytes()]).SerializeToString()


def infer(channel: Any, batch: np.ndarray, **options: Any) -> np.ndarray:
    data = channel.unary_unary(METHOD)(request(batch), **options)
    response = message_class("inference.ModelInferResponse").FromString(data)
    return np.frombuffer(response.raw_output_contents[0], "<f4").reshape(len(batch), -1)


def test_logits_are_those_of_http_to_the_last_bit(server: Server) -> None:
    for batch in (tiny_images(1, 32), tiny_images(3, 32)):
        tensor = {"name": "images", "datatype": "UINT8", "shape": batch.shape}
        header = {"inputs": [tensor | {"parameters": {"binary_data_size": batch.nbytes}}]}
        header["parameters"] = {"binary_data_output": True}
        body = json.dumps(header).encode()
        headers = {"Inference-Header-Content-Length": str(len(body))}
        _, answer = server.ask("POST", f"/v2/models/{NAME}/infer", body + batch.tobytes(), headers)
        over_http = np.frombuffer(answer[-40 * len(batch) :], "<f4").reshape(len(batch), 10)
        with grpc.insecure_channel(server.grpc_address) as channel:
            np.testing.assert_array_equal(infer(channel, batch), over_http)


def test_an_unmodified_client_of_triton_infers(server: Server) -> None:
    triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
    client = triton.InferenceServerClient(server.grpc_address)
    assert [client.is_server_live(), client.is_server_ready(), client.is_model_ready(NAME)] == [True] * 3
    encoded = triton.InferInput("pictures", [2], "BYTES")
    encoded.set_data_from_numpy(np.array([image(0), image(1)], dtype=object))
    with grpc.insecure_channel(server.grpc_address) as channel:
        expected = infer(channel, tiny_images(2, 32))
    np.testing.assert_allclose(client.infer(NAME, [encoded]).as_numpy("logits"), expected, atol=1e-5)
    client.close()


def test_an_unmodified_client_of_triton_loads_and_unloads_models(tmp_path: Path) -> None:
    triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
    write_tiny(tmp_path)
    versions = tmp_path / "models" / "m"
    shutil.copytree(tmp_path / "tiny", versions / "2")
    (tmp_path / "admin").write_text("sesame")
    options = ("--models", "models", "--poll", "0", "--admin-token-file", "admin", "--grpc-port", "0", "--threads", "1")
    with serving(tmp_path, *options) as server:
        client, admin = triton.InferenceServerClient(server.grpc_address), {"authorization": "Bearer sesame"}

        def index() -> list[tuple[str, str, str, str]]:
            models = client.get_model_repository_index().models
            return [(model.name, model.version, model.state, model.reason) for model in models]

        tiny, newest = (NAME, "1", "READY", ""), ("m", "2", "READY", "")
        assert index() == [tiny, newest]
        client.unload_model("m", headers=admin)
        assert index() == [tiny, ("m", "2", "UNAVAILABLE", "unloaded")]
        (versions / "2").rename(versions / "3")
        client.load_model("m", headers=admin)
        assert index() == [tiny, ("m", "3", "READY", "")]
        (tmp_path / "tiny" / "model.onnx").unlink()
        for method, name, words in (
            (client.load_model, NAME, f"[StatusCode.INVALID_ARGUMENT] cannot load {NAME}: "),
            (client.load_model, "none", "[StatusCode.NOT_FOUND] no model called 'none'"),
            (client.unload_model, "m/3", "[StatusCode.NOT_FOUND] 'm/3' is no name of a model"),
        ):
            with pytest.raises(triton.InferenceServerException) as caught:
                method(name, headers=admin)
            assert str(caught.value).startswith(words)
        with pytest.raises(triton.InferenceServerException, match="the admin token is required"):
            client.unload_model("m")
        assert client.is_model_ready(NAME)         # what was open stays
        client.close()


def test_unmodified_clients_of_triton_get_the_sets_of_python(tmp_path: Path) -> None:
    """Over both transports, for pixels and encoded images, the sets and the logits are the same to the bit."""
    clients = [pytest.importorskip(f"tritonclient.{kind}", reason="needs tritonclient") for kind in ("http", "grpc")]
    images, sets = tiny_images(5, 32), SetModel("raps", ScoreQuantiles(3, (1, 2, 3), (0.2, 0.5, 0.95)))
    write_bundle(tmp_path / "tiny", calibrated_bundle(tiny_bundle(), sets=sets))
    model = wideresnet.load(tmp_path / "tiny")
    expected = [{*(answer.set or ())} for answer in model.classify(list(images), coverage=0.75)]
    outputs: list[dict[str, np.ndarray]] = []
    with serving(tmp_path, "--threads", "1", "--grpc-port", "0") as server:
        for triton, address in zip(clients, (f"127.0.0.1:{server.port}", server.grpc_address), strict=True):
            client = triton.InferenceServerClient(address)
            pixels = triton.InferInput("images", [5, 32, 32, 3], "UINT8")
            encoded = triton.InferInput("pictures", [5], "BYTES")
            pixels.set_data_from_numpy(images)
            encoded.set_data_from_numpy(np.array([image(index) for index in range(5)], dtype=object))
            for tensor in (pixels, encoded):
                answer = client.infer(NAME, [tensor], parameters={"coverage": 75})
                outputs.append({name: answer.as_numpy(name) for name in ("logits", "p_known", "set")})
            with pytest.raises(triton.InferenceServerException, match=r"from 50 to 99\.9 %, got 5 %"):
                client.infer(NAME, [pixels], parameters={"coverage": 5})
            client.close()
    for output in outputs:
        names = np.array(model.labels.names)
        assert [{*names[row]} for row in output["set"]] == expected
        assert all(np.array_equal(output[name], outputs[0][name]) for name in output)
    assert len({len(members) for members in expected}) > 1


def test_damaged_connections_leave_nothing_behind(server: Server) -> None:
    host, _, port = server.grpc_address.rpartition(":")
    for sent in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(100_000)):
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(sent)
    server.until_empty()
    with grpc.insecure_channel(server.grpc_address) as channel:
        assert infer(channel, tiny_images(1, 32)).shape == (1, 10)


def test_sighup_reloads_the_model_and_loses_no_call(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    batch, answers = tiny_images(1, 32), []
    with serving(tmp_path, "--threads", "1", "--grpc-port", "0") as server:
        stop = threading.Event()

        def ask() -> None:
            with grpc.insecure_channel(server.grpc_address) as channel:
                while not stop.is_set():
                    answers.append(infer(channel, batch).tobytes())

        asking = threading.Thread(target=ask)
        asking.start()
        server.until(lambda: len(answers) > 0)
        write_tiny(tmp_path, seed=1)
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: b'wrn_reloads_total{result="done"} 1.0' in server.ask("GET", "/metrics")[1])
        before = len(answers)
        server.until(lambda: len(answers) > before + 1)
        stop.set()
        asking.join()
    assert len({*answers}) == 2                    # of the old model, then of the new one: each call was answered
    assert answers[0] != answers[-1]
    assert "Traceback" not in server.log.read_text()


def test_sigterm_answers_open_calls_refuses_new_ones_and_exits_with_0(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    batch, may_send = tiny_images(1, 32), threading.Event()
    with serving(tmp_path, "--threads", "1", "--grpc-port", "0") as server:
        with grpc.insecure_channel(server.grpc_address) as channel:

            def message() -> Iterator[bytes]:
                may_send.wait(30)
                yield request(batch)

            call = channel.stream_unary(METHOD).future(message())
            server.until(lambda: server.gauge("wrn_requests_in_flight") == 1)
            server.process.send_signal(signal.SIGTERM)
            server.until(lambda: server.ask("GET", "/v2/health/ready")[0] == 503)
            with pytest.raises(grpc.RpcError) as caught:
                infer(channel, batch)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details().startswith("the server is shutting down")
            may_send.set()
            response = message_class("inference.ModelInferResponse").FromString(call.result(30))
            assert response.model_name == NAME
        assert server.process.wait(30) == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@TWO_CPUS
def test_several_workers_share_the_port(tmp_path: Path) -> None:
    """Both answer, every scrape has the sums of both, a killed one loses only its own calls, and a drain loses none."""
    write_tiny(tmp_path)
    batch, alone = tiny_images(1, 32), {"options": [("grpc.use_local_subchannel_pool", 1)]}
    with serving(tmp_path, "--workers", "2", "--grpc-port", "0") as server, ExitStack() as stack:
        assert len(re.findall("grpc://", server.log.read_text())) == 1
        before = {pid: sockets(pid) for pid in server.workers()}
        channels = [stack.enter_context(grpc.insecure_channel(server.grpc_address, **alone)) for _ in range(24)]
        expected = infer(channels[0], batch)
        for channel in channels[1:]:
            np.testing.assert_array_equal(infer(channel, batch), expected)
        assert len(before) == 2
        assert all(sockets(pid) > count for pid, count in before.items())      # 1 in 2²³ that this fails
        server.until(lambda: infer_calls(server) == len(channels))
        assert all(infer_calls(server) == len(channels) for _ in range(4))

        os.kill(min(before), signal.SIGKILL)
        server.until(lambda: "has ended (signal 9" in server.log.read_text())
        for channel in channels:
            with suppress(grpc.RpcError):          # of a connection to the killed one; the channel connects again
                np.testing.assert_array_equal(infer(channel, batch), expected)
            np.testing.assert_array_equal(infer(channel, batch, wait_for_ready=True, timeout=60), expected)
        server.until(lambda: server.log.read_text().count("\nready") == 3, 90)

        may_send = threading.Event()

        def message() -> Iterator[bytes]:
            may_send.wait(30)
            yield request(batch)

        call = channels[0].stream_unary(METHOD).future(message())
        server.until(lambda: server.gauge("wrn_requests_in_flight") == 1)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: server.log.read_text().count("shutting down: ") == 2)
        may_send.set()
        assert message_class("inference.ModelInferResponse").FromString(call.result(30)).model_name == NAME
        assert server.process.wait(60) == 0
    assert "Traceback" not in server.log.read_text()


def sockets(pid: int) -> int:
    """The number of open sockets of a process."""
    return sum(os.readlink(file).startswith("socket:") for file in Path(f"/proc/{pid}/fd").iterdir())


def infer_calls(server: Server) -> float:
    metrics = server.ask("GET", "/metrics")[1].decode()
    return sum(map(float, re.findall(r'^wrn_requests_total{[^}]*ModelInfer[^}]*} (\S+)$', metrics, re.MULTILINE)))


@pytest.mark.parametrize("workers", [(), pytest.param(("--workers", "2"), marks=TWO_CPUS)])
def test_a_port_that_is_taken_is_one_sentence(
    wrn: Wrn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = wrn("serve", "-m", "tiny", "--port", "0", "--grpc-port", port, *workers)
    assert done.code == 2
    _, error, hint = done.err.splitlines()
    assert error.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
    assert hint == "hint:  --grpc-port 0 takes any free port"


def test_without_the_extra_one_sentence_says_what_to_install(wrn: Wrn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wideresnet.serve.grpc.server", raising=False)
    monkeypatch.setitem(sys.modules, "grpc_reflection.v1alpha", None)
    done = wrn("serve", "--grpc-port", "0")
    assert done.code == 2
    error = "error: wrn serve --grpc-port needs grpc_reflection.v1alpha, which is not installed\n"
    assert done.err == f"{error}hint:  pip install 'wideresnet[grpc]'\n"


def test_replicas_do_not_serve_it(wrn: Wrn) -> None:
    done = wrn("serve", "--ray", "local", "--grpc-port", "0")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: --grpc-port does not work with --ray")
