"""``wrn serve --shadow`` and ``--otlp`` as a process behind a socket."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collector import receiving
from commands import Wrn
from server_process import image, serving, write_tiny

for package in ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra serve")


def test_the_last_spans_are_sent_at_shutdown(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra tracing")
    write_tiny(tmp_path)
    with receiving() as collector:
        with serving(tmp_path, "--otlp", collector.url, OTEL_BSP_SCHEDULE_DELAY="600000") as server:
            assert server.ask("POST", "/v1/classify", image())[0] == 200
            assert not collector.spans
            server.process.terminate()
            assert server.process.wait(30) == 0
        assert {"POST /v1/classify", "read", "decode", "wait", "infer"} <= {span.name for span in collector.spans}


def test_traces_without_their_extra_are_refused_before_any_work(wrn: Wrn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "wideresnet.serve.tracing", raising=False)
    done = wrn("serve", "-m", "nothing", "--otlp", "http://localhost:4318")
    assert done.code == 2
    assert done.err.startswith("error: wrn serve --otlp needs opentelemetry")
    assert done.err.endswith("hint:  pip install 'wideresnet[tracing]'\n")


def test_a_shadow_answers_in_the_same_process_and_its_page_is_served(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    shutil.copytree(tmp_path / "tiny", tmp_path / "same")
    with serving(tmp_path, "-m", "b=same", "-m", "a=tiny", "--shadow", "a=b", "--shadow-fraction", "1") as server:
        assert server.ask("POST", "/v1/classify?model=a", image(), {"X-Label": "cat"})[0] == 200
        same = 'wrn_shadow_pictures_total{answers="same",model="a",shadow="b"}'
        server.until(lambda: f"{same} 1.0" in server.ask("GET", "/metrics")[1].decode())
        code, page = server.ask("GET", "/shadow")
        assert (code, b"a and its shadow b" in page) == (200, True)
        server.process.terminate()
        assert server.process.wait(30) == 0
    log = tmp_path / "log.txt"
    command = [sys.executable, "-m", "wideresnet", "serve", "-m", "tiny", "--port", "0", "--shadow", "tiny=a"]
    with log.open("w") as stderr:
        assert subprocess.run(command, cwd=tmp_path, stderr=stderr, timeout=120, check=False).returncode == 2
    assert "error: --shadow names 'wrn_10_1.tiny'" not in log.read_text()
    assert "error: --shadow names 'tiny', which is not served" in log.read_text()
