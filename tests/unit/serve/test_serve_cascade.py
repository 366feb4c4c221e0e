"""A cascade in the service: answers are those of the rule applied by hand, images are regrouped over requests."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from fakes import CASCADES, TINY, tiny_bundle, tiny_cascade, tiny_images, tiny_members
from serving import GatedEngine, PickyEngine, open_model, png, run, until
from wideresnet.bundle import Bundle, write_bundle
from wideresnet.bundle.derive import as_float32, with_preprocess
from wideresnet.engines import EngineOptions, open_engine
from wideresnet.engines.cascade import CascadeEngine
from wideresnet.images import crops, isolated
from wideresnet.images.decode import open_image
from wideresnet.images.preprocess import preprocess
from wideresnet.logits import certainty
from wideresnet.serve import statistics
from wideresnet.serve.app import make_app
from wideresnet.serve.models import open_models
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings, make_settings
from wideresnet.tasks.load.load import open_classifier

COUNT = 24
Answers = tuple[NDArray[np.float32], list[int]]    # logits, and the member that answered


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    """Images of several sizes; every eighth is decoded in a process."""
    rng, files = np.random.default_rng(0), []
    for number in range(COUNT):
        file, coarse = io.BytesIO(), rng.integers(0, 256, (3, 4, 3), np.uint8)
        Image.fromarray(coarse).resize((60 + number, 50), Image.Resampling.BICUBIC).save(
            file, "TIFF" if number % 8 == 7 else "PNG"
        )
        files.append(file.getvalue())
    return files


@pytest.fixture(scope="module", params=CASCADES)
def cascade(request: pytest.FixtureRequest, images: list[bytes]) -> Bundle:
    chosen = tiny_members(request.param)
    sure = [certainty(open_classifier(member).logits(images), "margin", 1.5) for member in chosen[:-1]]
    return tiny_cascade(*chosen, thresholds=[float(np.median(values)) for values in sure])


@pytest.fixture(scope="module")
def expected(cascade: Bundle, images: list[bytes]) -> Answers:
    return by_hand(cascade, images)


def by_hand(bundle: Bundle, images: Sequence[bytes]) -> Answers:
    """Logits and answering member of each image, from the logits of every member alone."""
    logits = [open_classifier(member).logits(list(images)) for member in bundle.members]
    assert bundle.card.cascade
    bounds = (*bundle.card.cascade.point.thresholds, 0.0)
    sure = [certainty(values, "margin", 1.5) >= bound for values, bound in zip(logits, bounds, strict=True)]
    members = np.argmax(sure, axis=0)
    assert len(set(members.tolist())) == len(bundle.members)
    return np.stack(logits)[members, np.arange(len(members))], members.tolist()


def serve(bundle: Bundle, engine: CascadeEngine | None = None, **values: object) -> Service:
    service = Service(ServeSettings(queue=200, max_images=COUNT, **values))
    service.set_models({"c": open_model(bundle, engine or open_engine(bundle), "c")})
    return service


def body(images: Sequence[bytes]) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"inputs": [{"name": "pictures", "shape": [len(data)], "datatype": "BYTES", "data": data}]}


def logits_of(answer: httpx2.Response) -> NDArray[np.float32]:
    (output,) = answer.json()["outputs"]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def metrics_of(service: Service, name: str) -> dict[str, float]:
    """The values of a metric, by its labels as they are written."""
    lines = (line.partition(" ") for line in service.metrics.render().decode().splitlines())
    return {key.removeprefix(name): float(value) for key, _, value in lines if key.startswith(name + "{")}


@pytest.mark.parametrize(("options", "batch", "size"), [
    (EngineOptions(threads=1), 8, 1), (EngineOptions(threads=2, hint="throughput", streams=2), 3, 1),
    (EngineOptions(threads=2, hint="throughput", streams=2), 50, 10),
])  # fmt: skip
def test_concurrent_requests_get_the_logits_of_the_rule(
    cascade: Bundle, images: list[bytes], expected: Answers, options: EngineOptions, batch: int, size: int
) -> None:
    service = serve(cascade, open_engine(cascade, options=options))
    service.models["c"]._batch = batch
    wanted, members = expected
    answers: list[httpx2.Response] = []

    async def story(client: httpx2.AsyncClient) -> None:
        requests = (body(images[start : start + size]) for start in range(0, COUNT, size))
        answers.extend(await asyncio.gather(*(client.post("/v2/models/c/infer", json=sent) for sent in requests)))

    run(service, story)
    np.testing.assert_array_equal(np.concatenate([logits_of(answer) for answer in answers]), wanted)
    assert metrics_of(service, "wrn_cascade_images_total") == {'{model="c"}': COUNT}
    assert metrics_of(service, "wrn_cascade_passed_on_total") == {
        f'{{member="{number}",model="c"}}': sum(member > number for member in members)
        for number in range(len(cascade.members) - 1)
    }
    assert service.models["c"]._images._free == crops.MAX_DECODED_BYTES


def test_an_answer_says_whether_the_image_was_passed_on(
    cascade: Bundle, images: list[bytes], expected: Answers
) -> None:
    files = [("file", (f"{number}", image)) for number, image in enumerate(images)]
    with TestClient(make_app(serve(cascade))) as client:
        results = client.post("/v1/classify", files=files).json()["results"]
        described = client.get("/openapi.json").json()["components"]["schemas"]["Result"]["properties"]
    assert [result["passed_on"] for result in results] == [member == len(cascade.members) - 1 for member in expected[1]]
    assert {*results[0]} <= {*described}


def test_every_run_of_a_member_is_an_execution(cascade: Bundle, images: list[bytes], expected: Answers) -> None:
    service = serve(cascade)
    with TestClient(make_app(service)) as client:
        for image in images[:6]:
            assert client.post("/v1/classify", content=image).status_code == 200
    counts = service.models["c"].statistics.to_json()
    assert (counts["execution_count"], counts["inference_count"]) == (6 + sum(expected[1][:6]), 6)


def test_pixels_are_taken_where_all_members_take_them(cascade: Bundle) -> None:
    several, pixels = len(cascade.card.specs) > 1, tiny_images(9, cascade.card.preprocess.crop)
    tensor = {"name": "images", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.tolist()}
    with TestClient(make_app(serve(cascade))) as client:
        answer = client.post("/v2/models/c/infer", json={"inputs": [tensor]})
        inputs = [given["name"] for given in client.get("/v2/models/c").json()["inputs"]]
        assert [given["name"] for given in client.get("/v2/models/c/config").json()["input"]] == inputs
    assert inputs == ["images", "pictures"][several:]
    if several:
        assert answer.status_code == 422
        assert "the members of c take different crops of an image" in answer.json()["error"]
    else:
        np.testing.assert_array_equal(logits_of(answer), open_engine(cascade)(pixels))


@pytest.mark.parametrize("kept", [True, False])
def test_an_image_is_decoded_once_and_cropped_again_only_where_it_is_passed_on(
    images: list[bytes], monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    first, last = tiny_bundle(TINY["wrn_10_1"]), tiny_bundle(TINY["wrn_16_2"])
    small = as_float32(with_preprocess(first, replace(first.card.preprocess, resize=24, crop=24)))
    files = [image for number, image in enumerate(images) if number % 8 != 7]
    sure = certainty(open_classifier(small).logits(files), "margin", 1.5)
    bundle = tiny_cascade(small, last, thresholds=[float(np.quantile(sure, 0.2))])
    wanted, members = by_hand(bundle, files)
    calls = {"open_image": 0, "preprocess": 0}

    def count(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return call(*arguments, **options)

        return counted

    monkeypatch.setattr(isolated, "open_image", count("open_image", open_image))
    monkeypatch.setattr(crops, "preprocess", count("preprocess", preprocess))
    monkeypatch.setattr(crops, "MAX_DECODED_BYTES", 2**26 if kept else 1000)
    service = serve(bundle)
    with TestClient(make_app(service)) as client:
        np.testing.assert_array_equal(logits_of(client.post("/v2/models/c/infer", json=body(files))), wanted)
    assert 0 < sum(members) < len(files) / 2
    assert calls == {"open_image": len(files), "preprocess": len(files) + (sum(members) if kept else len(files))}


def test_a_decoded_image_is_dropped_though_its_request_had_failed(
    images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that cannot start a thread raises and keeps the call: the image is decoded after its request's end."""
    first, last, gated = tiny_bundle(TINY["wrn_10_1"]), tiny_bundle(TINY["wrn_16_2"]), GatedEngine()
    small = as_float32(with_preprocess(first, replace(first.card.preprocess, resize=24, crop=24)))
    bundle = tiny_cascade(small, last, thresholds=[0.0])
    assert bundle.card.cascade
    service = serve(bundle, CascadeEngine(bundle.card.cascade, [gated, open_engine(last)]))
    worker = service.models["c"]
    submit, free = worker._decode_pool.submit, worker._images._free

    def keep(*arguments: Any) -> None:
        submit(*arguments)
        assert gated.begun.acquire(timeout=20)
        assert worker._images._free < free
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("wideresnet.serve.worker.SMALL_WORK", 0)
    monkeypatch.setattr(worker._decode_pool, "submit", keep)

    async def story(client: httpx2.AsyncClient) -> None:
        assert (await client.post("/v1/classify", content=images[0])).status_code == 500
        gated.gate.set()
        await until(lambda: worker._images._free == free)

    run(service, story)


def test_images_passed_on_by_several_requests_run_in_one_batch_and_fail_alone() -> None:
    bundle, first, last = tiny_cascade(thresholds=(2.0,)), GatedEngine(), PickyEngine()
    assert bundle.card.cascade
    service = serve(bundle, CascadeEngine(bundle.card.cascade, [first, last]))

    async def story(client: httpx2.AsyncClient) -> None:
        inside = [asyncio.create_task(client.post("/v1/classify", content=png(n % 10))) for n in range(20)]
        await until(lambda: service.admission.images == 20)
        first.gate.set()
        last.gate.set()
        answers = [await task for task in inside]
        assert [answer.status_code for answer in answers] == [500 if n % 10 == 7 else 200 for n in range(20)]
        for number, answer in enumerate(answers):
            if number % 10 != 7:
                assert answer.json()["results"][0]["predictions"][0]["index"] == number % 10
                assert answer.json()["milliseconds"]["infer"] > 0

    run(service, story)
    assert max(last._engine.calls) > 1


def test_cancelled_requests_are_not_passed_on() -> None:
    bundle, first, last = tiny_cascade(thresholds=(2.0,)), GatedEngine(), GatedEngine()
    assert bundle.card.cascade
    service = serve(bundle, CascadeEngine(bundle.card.cascade, [first, last]), deadline=0.05)

    async def story(client: httpx2.AsyncClient) -> None:
        assert (await client.post("/v1/classify", content=png(1))).status_code == 504
        first.gate.set()

    run(service, story)
    assert (first._engine.calls, last._engine.calls) == ([1], [])
    assert metrics_of(service, "wrn_cascade_images_total") == {'{model="c"}': 0}


def test_no_counter_decreases_when_a_cascade_is_opened_again() -> None:
    bundle = tiny_cascade(thresholds=(2.0,))
    assert bundle.card.cascade
    service = serve(bundle, CascadeEngine(bundle.card.cascade, [GatedEngine(), GatedEngine()]))
    model = service.models["c"]
    assert model.cascade
    model.cascade.add([1, 0])
    again = serve(bundle, CascadeEngine(bundle.card.cascade, [GatedEngine(), GatedEngine()])).models["c"]
    service.metrics.set_models([again])
    model.cascade.add([1])                         # was running
    assert again.cascade
    again.cascade.add([0])
    assert metrics_of(service, "wrn_cascade_images_total") == {'{model="c"}': 4}
    assert metrics_of(service, "wrn_cascade_passed_on_total") == {'{member="0",model="c"}': 2}


def test_the_seconds_of_all_members_count() -> None:
    bundle, first, last = tiny_cascade(thresholds=(2.0,)), GatedEngine(), GatedEngine()
    assert bundle.card.cascade
    service = serve(bundle, CascadeEngine(bundle.card.cascade, [first, last]))

    async def story(client: httpx2.AsyncClient) -> None:
        inside = asyncio.create_task(client.post("/v1/classify", content=png(1)))
        for engine in (first, last):
            await until(lambda engine=engine: engine.begun.acquire(blocking=False))
            await asyncio.sleep(0.05)
            engine.gate.set()
        assert (await inside).json()["milliseconds"]["infer"] >= 100

    run(service, story)


def test_an_unusual_share_is_said_once_and_shown_in_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "WINDOW", 20)
    bundle, lines = tiny_cascade(thresholds=(2.0,), shares=(1000, 300)), list[str]()
    service = Service(ServeSettings(), lines.append)
    service.set_models({"c": open_model(bundle, open_engine(bundle), "c")})
    values = []
    with TestClient(make_app(service)) as client:
        for _ in range(3):
            client.post("/v1/classify", files=[("f", (str(n), png(n))) for n in range(10)] * 2)
            values.append(metrics_of(service, "wrn_cascade_unusual"))
    assert values == [{'{model="c"}': 1.0}] * 3
    said = [line for line in lines if "passed on" in line]
    assert said == [
        "c: passed on: 100.00 % of 20 images, outside 27.24 to 32.91 % at certification: these images may be of another"
        " kind"
    ]
    low, high = metrics_of(service, "wrn_cascade_certified_fraction").values()
    assert (round(low, 4), round(high, 4)) == (0.2724, 0.3291)


@pytest.mark.parametrize(("images", "unusual"), [(300, False), (340, False), (400, True), (200, True), (0, True)])
def test_only_a_clear_change_of_the_share_alarms(images: int, unusual: bool) -> None:
    """At 300 of 1,000 images four standard errors of a window are about 0.058, beside 0.028 at certification."""
    cascade = tiny_cascade(shares=(1000, 300)).card.cascade
    assert cascade
    counts = statistics.CascadeStatistics(cascade)
    counts.add([1] * images + [0] * (999 - images))
    assert not counts.is_unusual                   # the window is not complete
    counts.add([0])
    assert (counts.is_unusual, counts.checked.n) == (unusual, 1000)
    assert counts.reached == [1000, images]


def test_a_model_without_members_has_no_such_metrics(make_service: Callable[..., Service]) -> None:
    service = make_service()
    assert metrics_of(service, "wrn_model_info")
    for name in ("images_total", "passed_on_total", "certified_fraction", "unusual"):
        assert not metrics_of(service, f"wrn_cascade_{name}")


def test_a_cascade_is_opened_from_its_folder_and_every_member_runs_once(cascade: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", cascade)
    (worker,) = open_models(make_settings({"models": [f"c={tmp_path / 'c'}"]}), lambda _: None).values()
    assert worker.cascade
    assert worker.cascade.reached == [0] * len(cascade.members)
    assert worker.classifier.engine.passed_on.n == 0       # the images of the check are not counted


def test_maps_of_a_cascade_are_refused(make_service: Callable[..., Service]) -> None:
    service, cascade = make_service(), tiny_cascade()
    service.set_models({"c": open_model(cascade, open_engine(cascade))})
    with TestClient(make_app(service)) as client:
        done = client.post("/v1/explain", content=png(1))
    assert (done.status_code, done.json()["detail"]) == (422, "no maps of wrn_10_1.tiny: it is a cascade")


def test_a_shadow_is_given_what_the_cascade_was_given(cascade: Bundle, images: list[bytes]) -> None:
    """A cascade in its own shadow answers alike, whichever member answered: sent as images, and as one tensor."""
    service = Service(ServeSettings(queue=200, max_images=COUNT, shadow="a=b", shadow_fraction=1))
    service.set_models({name: open_model(cascade, open_engine(cascade), name) for name in "ab"})
    pixels = np.stack([open_classifier(cascade.members[0]).preprocess(image) for image in images])
    tensor = {"name": "images", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.ravel().tolist()}
    bodies = [body(images), *[{"inputs": [tensor]}] * (len(cascade.card.specs) == 1)]

    async def story(client: httpx2.AsyncClient) -> None:
        for number, document in enumerate(bodies, start=1):
            assert (await client.post("/v2/models/a/infer", json=document)).status_code == 200
            await until(lambda number=number: service.shadow and service.shadow.report.n == number * COUNT)

    run(service, story)
    assert service.shadow
    report = service.shadow.report
    assert (report.agreements, report.dropped.total()) == (report.n, 0)
    assert report.change == pytest.approx(0, abs=1e-3)
