"""Traces of requests, received by a collector in this process."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from collector import Collector, attributes, receiving
from fakes import FakeEngine
from serving import NAME, png
from wideresnet.serve.app import make_app
from wideresnet.serve.service import Service

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra tracing")

from wideresnet.serve.tracing import MAX_STAGES, Tracing

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER, UNSET, ERROR = 2, 0, 2                     # of the protocol's enumerations


@pytest.fixture
def collector() -> Iterator[Collector]:
    with receiving() as collector:
        yield collector


@pytest.fixture(autouse=True)
def _restored_logger() -> Iterator[None]:
    logger = logging.getLogger("opentelemetry")
    before = logger.handlers, logger.propagate
    yield
    logger.handlers, logger.propagate = before


def traced(make_service: Callable[..., Service], url: str, lines: list[str] | None = None, **values: Any) -> Service:
    lines = [] if lines is None else lines
    service = make_service(**values)
    service.tracing = Tracing(url, lines.append)
    service._write = lines.append
    return service


def close(service: Service, seconds: float = 20) -> bool:
    assert service.tracing
    return asyncio.run(service.tracing.close(seconds))


def test_a_request_has_a_server_span_below_the_clients_and_a_span_for_each_stage(make_service, collector) -> None:
    service = traced(make_service, collector.url + "/")
    before = time.time_ns()
    with TestClient(make_app(service)) as client:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b", "X-Request-ID": "mine"}
        assert client.post("/v1/classify?k=1", content=png(4), headers=headers).status_code == 200
    assert close(service)
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.resource["service.name"] == "wrn-serve"
    *children, server = sorted(collector.spans, key=lambda span: span.kind == SERVER)
    assert [child.name for child in sorted(children, key=lambda span: span.start_time_unix_nano)] == [
        "read", "wait", "decode", "wait", "infer"
    ]  # fmt: skip
    assert (server.name, server.trace_id.hex(), server.parent_span_id.hex()) == ("POST /v1/classify", TRACE, PARENT)
    assert (server.kind, server.status.code, server.trace_state) == (SERVER, UNSET, "a=b")
    assert {child.parent_span_id for child in children} == {server.span_id}
    assert {child.trace_id.hex() for child in children} == {TRACE}
    assert attributes(server) == {
        "http.request.method": "POST", "http.route": "/v1/classify", "http.response.status_code": 200,
        "url.path": "/v1/classify", "url.scheme": "http",
        "client.address": "testclient", "user_agent.original": "testclient", "wrn.request.id": "mine",
        "wrn.model": NAME, "wrn.pictures": 1,
    }  # fmt: skip
    times = [(span.start_time_unix_nano, span.end_time_unix_nano) for span in children]
    assert all(before - 10**7 < start <= end <= server.end_time_unix_nano for start, end in times)
    assert all(server.start_time_unix_nano <= start for start, _ in times)


def test_without_a_parent_a_trace_begins_and_its_id_is_in_the_log(make_service, collector) -> None:
    log: list[str] = []
    service = traced(make_service, collector.url, log, log="json")
    with TestClient(make_app(service)) as client:
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/nothing").status_code == 404
    assert close(service)
    live, missing = collector.spans
    assert (live.parent_span_id, live.name) == (b"", "GET /v2/health/live")
    assert live.trace_id != missing.trace_id
    assert f'"trace_id": "{live.trace_id.hex()}"' in log[0]
    assert (missing.name, missing.status.code) == ("GET", UNSET), "a mistake of the client is no error of the server"
    assert attributes(missing)["wrn.error.kind"] == "route"
    assert "error.type" not in attributes(missing)


def test_an_error_of_the_server_is_an_error_of_the_span(make_service, collector) -> None:
    class Failing(FakeEngine):
        def __call__(self, batch: object) -> Any:
            raise MemoryError

    service = traced(make_service, collector.url, engine=Failing())
    with TestClient(make_app(service)) as client:
        assert client.post("/v1/classify", content=png(4)).status_code == 500
    assert close(service)
    (server,) = (span for span in collector.spans if span.kind == SERVER)
    assert (server.status.code, attributes(server)["error.type"]) == (ERROR, "fault")


def test_the_parent_decides_whether_a_request_is_sampled(make_service, collector) -> None:
    log: list[str] = []
    service = traced(make_service, collector.url, log, log="json")
    with TestClient(make_app(service)) as client:
        for flags in ("00", "01"):
            client.get("/healthz", headers={"traceparent": f"00-{TRACE}-{PARENT}-{flags}"})
    assert close(service)
    assert len(collector.spans) == 1
    assert all(f'"trace_id": "{TRACE}"' in line for line in log)


def test_messages_of_one_kind_are_counted_and_written_once_a_minute(monkeypatch) -> None:
    lines: list[str] = []
    tracing = Tracing("http://127.0.0.1:9", lines.append)
    logger = logging.getLogger("opentelemetry")
    for moment in (100.0, 101.0, 159.9, 160.0):
        monkeypatch.setattr("wideresnet.serve.tracing.time.monotonic", lambda moment=moment: moment)
        logger.warning("retrying in %s s", moment)
        logger.error("another")
    assert lines == [
        "tracing: retrying in 100.0 s", "tracing: another",
        "tracing: retrying in 160.0 s (2 more like it before)", "tracing: another (2 more like it before)",
    ]  # fmt: skip
    monkeypatch.undo()
    assert asyncio.run(tracing.close(1.0))


def test_a_ratio_is_set_by_the_standard_variables(make_service, collector, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "birds")
    service = traced(make_service, collector.url)
    with TestClient(make_app(service)) as client:
        client.get("/healthz")
        client.get("/healthz", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert close(service)
    assert [span.trace_id.hex() for span in collector.spans] == [TRACE]
    assert collector.resource["service.name"] == "birds"


def test_the_spans_of_a_request_are_bounded(make_service, collector) -> None:
    service = traced(make_service, collector.url)
    with TestClient(make_app(service)) as client:
        files = [("f", (str(k), png(k % 10))) for k in range(40)]
        assert client.post("/v1/classify", files=files).status_code == 200
    assert close(service)
    assert len(collector.spans) == 1 + MAX_STAGES


@pytest.mark.parametrize("status", [None, 400])
def test_a_collector_that_is_down_or_refuses_fails_no_request(make_service, monkeypatch, status) -> None:
    """What the SDK says about it is in the log of the service; the last flush ends at its limit."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    collector = Collector(status or 200)
    if status is None:
        collector.close()
    log: list[str] = []
    service = traced(make_service, collector.url, log)
    with TestClient(make_app(service)) as client:
        for label in range(5):
            assert client.post("/v1/classify", content=png(label)).status_code == 200
    end = time.monotonic() + 20
    while not any(line.startswith("tracing: ") for line in log):
        assert time.monotonic() < end
        time.sleep(0.01)
    close(service)
    assert all("Traceback" not in line for line in log)


def test_the_last_flush_ends_at_its_limit(make_service) -> None:
    held = threading.Event()

    class Hanging(Collector):
        def read(self, body: bytes) -> None:
            assert held.wait(20)

    collector = Hanging()
    service = traced(make_service, collector.url)
    with TestClient(make_app(service)) as client:
        client.get("/healthz")
    assert not close(service, 0.1)
    held.set()
    collector.close()
