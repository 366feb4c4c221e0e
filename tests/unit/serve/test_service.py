"""Concurrent requests over an engine with a gate: overload, deadlines, disconnects and a reload."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import weakref
from dataclasses import replace
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from fakes import FakeEngine
from serving import NAME, GatedEngine, PickyEngine, open_model, png, run, until
from wideresnet.engines.throughput import BATCH
from wideresnet.errors import ConfigError
from wideresnet.images.isolated import decode_crops
from wideresnet.serve.admission import RequestContext
from wideresnet.serve.app import make_app
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.worker import MAX_SMALL_IMAGES


def test_a_full_queue_answers_429_at_once_and_admitted_requests_are_answered(make_service) -> None:
    engine = GatedEngine()
    service = make_service(engine, queue=3)

    async def story(client: httpx2.AsyncClient) -> None:
        inside = [asyncio.create_task(client.post("/v1/classify", content=png(n))) for n in range(3)]
        await until(lambda: service.admission.images == 3)
        for _ in range(20):
            late = await client.post("/v1/classify", content=png(5))
            assert (late.status_code, late.headers["retry-after"]) == (429, "1")
        assert (await client.get("/healthz")).status_code == 200
        engine.gate.set()
        answers = await asyncio.gather(*inside)
        assert [answer.json()["results"][0]["predictions"][0]["index"] for answer in answers] == [0, 1, 2]
        assert (await client.post("/v1/classify", content=png(5))).status_code == 200

    run(service, story)


def test_an_image_for_which_no_thread_starts_leaves_the_queue_once(make_service, monkeypatch) -> None:
    """Python's pools keep the call that they could not start a thread for, and another thread makes it later."""
    engine = GatedEngine()
    engine.info = replace(engine.info, threads=4)
    service = make_service(engine)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def story(client: httpx2.AsyncClient) -> None:
        engine.gate.set()
        assert (await client.post("/v1/classify", content=png(1))).status_code == 200    # one thread of each pool
        monkeypatch.setattr(threading.Thread, "start", start)
        files = [("f", (str(number), png(number))) for number in range(9)]
        done = await client.post("/v1/classify", files=files)
        monkeypatch.undo()
        assert done.status_code in (200, 500), done.text
        await until(lambda: not service.admission.images)
        assert (await client.post("/v1/classify", content=png(1))).status_code == 200
        assert (service.admission.images, service.admission.slow) == (0, 0)

    run(service, story)


def test_waiting_images_are_inferred_in_batches(make_service) -> None:
    engine = GatedEngine()
    service = make_service(engine, queue=40, max_images=40)
    labels = [number % 10 for number in range(40)]

    async def story(client: httpx2.AsyncClient) -> None:
        files = [("f", (str(number), png(label))) for number, label in enumerate(labels)]
        inside = asyncio.create_task(client.post("/v1/classify", files=files))
        await until(lambda: decoded(service) >= 40 - 2 * BATCH)    # the others are with the engine, in two batches
        engine.gate.set()
        results = (await inside).json()["results"]
        assert [result["predictions"][0]["index"] for result in results] == labels

    run(service, story)
    sizes = engine._engine.calls
    assert (max(sizes), sum(sizes)) == (BATCH, 40)


def test_small_images_are_decoded_at_once_and_inferred_together(make_service, monkeypatch) -> None:
    """It takes less time than to wake a thread. Larger images, and the 17th and later of a request, go to threads."""
    threads = list[str]()

    def decode(data: bytes, *arguments: Any) -> Any:
        threads.append("loop" if threading.current_thread() is threading.main_thread() else "thread")
        return decode_crops(data, *arguments)

    monkeypatch.setattr("wideresnet.images.crops.decode_crops", decode)
    engine = GatedEngine()
    service = make_service(engine)
    engine.gate.set()

    async def story(client: httpx2.AsyncClient) -> None:
        await asyncio.gather(*(client.post("/v1/classify", content=png(number)) for number in range(8)))
        assert sum(engine._engine.calls) == 8
        assert max(engine._engine.calls) >= 4
        assert threads == ["loop"] * 8
        threads.clear()
        noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG")               # 11 KB
        await client.post("/v1/classify", content=file.getvalue())
        await client.post("/v1/classify", files=[("f", (str(n), png(n % 10))) for n in range(MAX_SMALL_IMAGES + 2)])
        assert threads == ["thread", *["loop"] * MAX_SMALL_IMAGES, "thread", "thread"]

    run(service, story)


def test_an_error_in_a_batch_fails_one_request_only(make_service) -> None:
    engine = PickyEngine()
    service = make_service(engine)

    async def story(client: httpx2.AsyncClient) -> None:
        inside = [asyncio.create_task(client.post("/v1/classify", content=png(n % 10))) for n in range(20)]
        await until(lambda: service.admission.images == 20)
        engine.gate.set()
        codes = [(await task).status_code for task in inside]
        assert codes == [500 if n % 10 == 7 else 200 for n in range(20)]

    run(service, story)
    assert max(engine._engine.calls) > 1


def decoded(service: Service) -> int:
    """Return the number of images that wait for the engine."""
    return len(service.models[NAME]._decoded[0])


def test_the_many_images_of_a_request_do_not_delay_another(make_service, monkeypatch) -> None:
    gate, order = threading.Event(), list[bytes]()

    def decode(data: bytes, *arguments: Any) -> Any:
        assert gate.wait(20)
        order.append(data)
        return decode_crops(data, *arguments)

    monkeypatch.setattr("wideresnet.images.crops.decode_crops", decode)
    monkeypatch.setattr("wideresnet.serve.worker.SMALL_WORK", 0)       # read by the threads
    service = make_service()

    async def story(client: httpx2.AsyncClient) -> None:
        files = [("f", (str(number), png(1))) for number in range(30)]
        many = asyncio.create_task(client.post("/v1/classify", files=files))
        await until(lambda: service.admission.images == 30)
        late = asyncio.create_task(client.post("/v1/classify", content=png(7)))
        await until(lambda: service.admission.images == 31)
        gate.set()
        assert (await late).status_code == (await many).status_code == 200

    run(service, story)
    assert order.index(png(7)) < 15


def test_slow_images_leave_the_queue_to_others(make_service, monkeypatch) -> None:
    """They have one of their own, with the same capacity."""
    gate = threading.Event()
    monkeypatch.setattr(
        "wideresnet.images.crops.decode_in_process", lambda *arguments: gate.wait(20) and decode_crops(*arguments)
    )
    service = make_service(queue=2)
    file = io.BytesIO()
    Image.fromarray(FakeEngine().image(3)).save(file, "TIFF")

    async def story(client: httpx2.AsyncClient) -> None:
        slow = [asyncio.create_task(client.post("/v1/classify", content=file.getvalue())) for _ in range(2)]
        await until(lambda: service.admission.slow == 2)
        assert [(await client.post("/v1/classify", content=png(5))).status_code for _ in range(4)] == [200] * 4
        refused = await client.post("/v1/classify", content=file.getvalue())
        assert (refused.status_code, refused.json()["detail"]) == (429, "the queue of slow images is full (2 images)")
        gate.set()
        for answer in slow:
            assert (await answer).json()["results"][0]["predictions"][0]["index"] == 3

    run(service, story)
    assert (service.admission.slow, service.admission.slow_bytes) == (0, 0)


def test_slow_images_hold_at_most_half_of_the_bytes(make_service) -> None:
    permit = make_service(max_bytes=100).admission.admit(RequestContext("a"))
    permit.set_aside(400)
    with pytest.raises(ApiError, match="the queue of slow images is full"):
        permit.set_aside(1)


def test_a_request_that_does_not_fit_completely_is_refused(make_service) -> None:
    engine = GatedEngine()
    service = make_service(engine, queue=4, max_images=4)

    async def story(client: httpx2.AsyncClient) -> None:
        inside = asyncio.create_task(client.post("/v1/classify", content=png(1)))
        await until(lambda: service.admission.images == 1)
        late = await client.post("/v1/classify", files=[("f", (str(n), png(n))) for n in range(4)])
        assert (late.status_code, service.admission.images) == (429, 1)
        engine.gate.set()
        assert (await inside).status_code == 200

    run(service, story)


def test_at_the_deadline_it_is_504_and_the_remaining_work_is_skipped(make_service) -> None:
    engine = GatedEngine()
    service = make_service(engine, deadline=0.05, max_images=9)

    async def story(client: httpx2.AsyncClient) -> None:
        late = await client.post("/v1/classify", files=[("f", (str(n), png(n))) for n in range(9)])
        assert late.status_code == 504
        assert late.json()["type"] == "urn:wideresnet:problem:deadline"
        assert service.admission.images == 9         # the seats are held until no thread works on them
        assert service.admission.bytes > 0
        engine.gate.set()

    run(service, story)
    begun = 0
    while engine.begun.acquire(blocking=False):
        begun += 1
    assert begun == 2                              # the turns of an engine with one stream


def test_a_slow_upload_is_408(make_service) -> None:
    service = make_service(upload_deadline=0.05)

    async def trickle():
        yield b"\x89PNG"
        await asyncio.sleep(20)

    async def story(client: httpx2.AsyncClient) -> None:
        late = await client.post("/v1/classify", content=trickle())
        assert (late.status_code, late.headers["connection"]) == (408, "close")

    run(service, story)


def test_work_for_a_disconnected_client_is_skipped(make_service) -> None:
    """Without a client library, since those cannot disconnect early."""
    engine = GatedEngine()
    service = make_service(engine)
    app = make_app(service)
    sent: list[dict[str, Any]] = []

    async def request(messages: list[dict[str, Any]]) -> None:
        async def receive() -> dict[str, Any]:
            if len(messages) == 1:                 # the last, the disconnect, comes when all is begun
                await until(lambda: service.admission.images == 1 or not messages[0].get("wait"))
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/classify", "query_string": b"", "headers": []}
        await app(scope, receive, send)

    async def story(_client: httpx2.AsyncClient) -> None:
        body = {"type": "http.request", "body": png(1), "more_body": False}
        await request([body, {"type": "http.disconnect", "wait": True}])
        half = {"type": "http.request", "body": b"half", "more_body": True}
        await request([half, {"type": "http.disconnect"}])
        engine.gate.set()

    run(service, story)
    assert [message["status"] for message in sent if message["type"] == "http.response.start"] == [499, 499]
    assert b'wrn_failures_total{kind="gone"} 2.0' in service.metrics.render()


def test_a_reload_loses_no_request_and_frees_the_old_model(bundle, make_service, monkeypatch) -> None:
    old = GatedEngine()
    service = make_service(old)
    gone = weakref.ref(service.models[NAME])
    monkeypatch.setattr("wideresnet.serve.repository.open_models", lambda *_: {NAME: open_model(bundle, FakeEngine())})

    async def story(client: httpx2.AsyncClient) -> None:
        inside = asyncio.create_task(client.post("/v1/classify", content=png(3)))
        await until(lambda: service.admission.images == 1)
        await service.reload()
        assert (await client.post("/v1/classify", content=png(4))).status_code == 200
        assert not inside.done()
        old.gate.set()
        assert (await inside).json()["results"][0]["predictions"][0]["index"] == 3

    run(service, story)
    gc.collect()
    assert gone() is None


def test_a_request_counts_for_the_model_that_answered_it(bundle, make_service, monkeypatch) -> None:
    """Not for the one that a reload opened meanwhile, which would have answers without images."""
    old = GatedEngine()
    service = make_service(old)
    before, after = service.models[NAME], open_model(bundle, FakeEngine())
    monkeypatch.setattr("wideresnet.serve.repository.open_models", lambda *_: {NAME: after})

    async def story(client: httpx2.AsyncClient) -> None:
        inside = asyncio.create_task(client.post("/v1/classify", content=png(3)))
        await until(lambda: service.admission.images == 1)
        await service.reload()
        old.gate.set()
        assert (await inside).status_code == 200

    run(service, story)
    for model, count in ((before, 1), (after, 0)):
        assert model.statistics.images == count
        assert model.statistics.to_json()["inference_stats"]["success"]["count"] == count


def test_a_failed_reload_keeps_the_open_models(make_service, monkeypatch) -> None:
    service = make_service()
    messages: list[str] = []
    service._write = messages.append

    def fail(*_: object) -> None:
        raise ConfigError("no such model", "look again")

    monkeypatch.setattr("wideresnet.serve.repository.open_models", fail)
    asyncio.run(service.reload())
    assert messages == ["reload failed, the open models stay: no such model (look again)"]
    assert service.ready
    with pytest.raises(ConfigError):
        asyncio.run(service.load())


@pytest.mark.parametrize(
    ("streams", "limit", "expected"),
    [
        (None, 2**25, "AdaptiveEngine"),           # small enough to compile twice
        (None, 0, "OpenVinoEngine"),
        (1, 2**25, "OpenVinoEngine"),
        (2, 2**25, "OpenVinoEngine"),
    ],
)
def test_small_models_are_compiled_for_one_client_and_for_many(
    tmp_path, bundle, monkeypatch, streams, limit, expected
) -> None:
    from wideresnet.bundle import write_bundle

    monkeypatch.setattr("wideresnet.serve.models.ADAPTIVE_BYTES", limit)
    write_bundle(tmp_path / "tiny", bundle)
    service = Service(ServeSettings(models=(str(tmp_path / "tiny"),), threads=2, streams=streams))
    asyncio.run(service.load())
    (worker,) = service.models.values()
    assert type(worker.classifier.engine).__name__ == expected
    if expected == "OpenVinoEngine":
        assert worker.classifier.engine.info.streams == (streams or 1)


def test_models_are_opened_under_their_names_or_aliases(tmp_path, bundle) -> None:
    from wideresnet.bundle import write_bundle

    write_bundle(tmp_path / "tiny", bundle)
    write_bundle(tmp_path / "lr=0.1" / "bundle", bundle)
    choice = str(tmp_path / "tiny")
    service = Service(ServeSettings(models=(choice, f"other={tmp_path}/lr=0.1/bundle"), threads=1, streams=1))
    asyncio.run(service.load())
    assert list(service.models) == [NAME, "other"]
    assert service.models["other"].identity["graph_sha256"] == service.models[NAME].identity["graph_sha256"] != ""
    for models, message in ((choice, choice), "two models"), ((f"my x={choice}",), "not a valid name"):
        with pytest.raises(ConfigError, match=message):
            asyncio.run(Service(ServeSettings(models=models)).load())
