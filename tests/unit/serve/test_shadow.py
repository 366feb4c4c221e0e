"""A shadow over fake engines: what is compared and counted, and what it costs others."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from fakes import FakeEngine, tiny_bundle
from serving import GatedEngine, png
from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.engines import Engine
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.decode import Limits
from wideresnet.records import Labels
from wideresnet.serve import shadow as shadow_module
from wideresnet.serve.app import make_app
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.shadow import _hash_of
from wideresnet.serve.worker import ModelWorker


class Mapped(FakeEngine):
    """A FakeEngine that answers another class for the images of some classes."""

    def __init__(self, classes: Mapping[int, int]) -> None:
        super().__init__()
        self.map = classes

    def answer(self, image: NDArray[np.uint8]) -> int:
        answer = super().answer(image)
        return self.map.get(answer, answer)


class Failing(FakeEngine):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise self.error


def worker(name: str, engine: Engine, bundle: Bundle | None = None, graph: str = "") -> ModelWorker:
    bundle = bundle or tiny_bundle()
    classifier = Classifier(bundle.card, bundle.labels, engine)
    model = ModelWorker(name, classifier, threading.BoundedSemaphore(2), Limits(2**20, 2**20))
    model.identity["graph_sha256"] = graph or name * 32
    return model


@contextmanager
def shadowed(b: ModelWorker, *more: ModelWorker, **values: Any) -> Iterator[tuple[Service, TestClient, list[str]]]:
    """A service in which ``b`` is asked about every image of the model a; its client, and its log."""
    log: list[str] = []
    service = Service(ServeSettings(**{"shadow": "a=b", "shadow_fraction": 1, **values}), log.append)
    models = (worker("a", FakeEngine()), b, *more)
    service.set_models({model.name: model for model in models})
    with TestClient(make_app(service)) as client:
        yield service, client, log


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def tensor(*labels: int) -> dict[str, Any]:
    pixels = np.stack([FakeEngine().image(label) for label in labels])
    data = {"name": "images", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.ravel().tolist()}
    return {"inputs": [data]}


def confidence(vote: int) -> NDArray[np.float64]:
    """The probabilities of a FakeEngine: proportional to exp(-distance from the vote)."""
    values = np.exp(-np.abs(np.arange(10.0) - vote))
    return values / values.sum()


def values(client: TestClient, name: str) -> dict[str, float]:
    """The values of a metric by its label beside model and shadow, or ""."""
    rows = re.findall(rf"^{name}{{(.*)}} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    own = [dict(re.findall('(\\w+)="([^"]*)"', labels)) for labels, _ in rows]
    assert all((labels.pop("model"), labels.pop("shadow")) == ("a", "b") for labels in own)
    return {"".join(labels.values()): float(value) for labels, (_, value) in zip(own, rows, strict=True)}


def test_images_of_both_protocols_are_compared() -> None:
    with shadowed(worker("b", Mapped({3: 5, 9: 0}))) as (service, client, _):
        assert client.post("/v1/classify", content=png(3), headers={"X-Request-ID": "one"}).status_code == 200
        files = [("f", ("1", png(1))), ("f", ("2", png(2)))]
        assert client.post("/v1/classify", files=files).status_code == 200
        done = client.post("/v2/models/a/infer", json=tensor(4, 9, 5), headers={"X-Request-ID": "two"})
        assert done.status_code == 200
        assert client.post("/v1/classify?model=b", content=png(3)).status_code == 200       # B's own images
        assert service.shadow
        until(lambda: service.shadow.report.n == 6)
        report = service.shadow.report
        assert (report.n, report.agreements, report.decoded_again, report.dropped.total()) == (6, 4, 0, 0)
        assert dict(report.pairs) == {(3, 5): 1, (9, 0): 1}
        first, second = confidence(9), confidence(0)
        furthest = report.largest[0]
        assert (furthest.request, furthest.answers, furthest.label) == ("two", (9, 0), None)
        assert furthest.distance == pytest.approx(np.maximum(first - second, 0).sum())
        assert report.largest[1].request == "one"
        change = confidence(5).max() - confidence(3).max() + confidence(0).max() - confidence(9).max()
        assert report.mean_change == pytest.approx(change / 6)
        assert values(client, "wrn_shadow_pictures_total") == {"same": 4, "different": 2}
        assert values(client, "wrn_shadow_agreement")["estimate"] == pytest.approx(4 / 6)
        assert math.isnan(values(client, "wrn_shadow_difference")["estimate"])
        assert service.models["b"].statistics.images == 1, "the shadow's work is not counted as requests"


def test_labels_give_mcnemars_counts() -> None:
    """A is right about 3, 3, 1; B, which takes 3 for 5, about 1 and the 3 that is a 5. Of 6 both are wrong."""
    with shadowed(worker("b", Mapped({3: 5}))) as (service, client, _):
        files = [("f", (str(k), png(label))) for k, label in enumerate((3, 3, 1, 3, 6))]
        done = client.post("/v1/classify", files=files, headers={"X-Label": "#3,cat, 1,dog,#0"})
        assert done.status_code == 200
        assert client.post("/v2/models/a/infer", json=tensor(2, 3), headers={"X-Label": "2,3"}).status_code == 200
        assert client.post("/v1/classify", content=png(7)).status_code == 200               # without a label
        until(lambda: service.shadow and service.shadow.report.n == 8)
        counts = values(client, "wrn_shadow_labelled_total")
        assert counts == {"both": 2, "first": 3, "shadow": 1, "neither": 1}
        assert values(client, "wrn_shadow_difference")["estimate"] == pytest.approx(-2 / 7)
        page = client.get("/shadow").text
        assert "p = 0.62" in page                  # of 3 and 1: 2 * (1 + 4) / 16 = 0.625
        assert "71.43 %" in page
        assert "42.86 %" in page


@pytest.mark.parametrize(
    ("query", "label", "words"),
    [
        ("", "3,4", "2 labels for 1 images"), ("", "kitten", "no class called 'kitten'"), ("", "10", "'10'"),
        ("?model=b", "3", "no effect: b has no shadow"), ("", "猫".encode(), "'猫'"), ("", b"\xe9", "'é'"),
    ],
)  # fmt: skip
def test_a_label_counts_or_is_refused(query: str, label: str | bytes, words: str) -> None:
    with shadowed(worker("b", FakeEngine())) as (service, client, _):
        done = client.post(f"/v1/classify{query}", content=png(3), headers={"X-Label": label})
        assert (done.status_code, words in done.json()["detail"]) == (422, True), done.text
        assert not service.admission.images


def test_a_label_of_an_explanation_is_refused() -> None:
    with shadowed(worker("b", FakeEngine())) as (_, client, _):
        done = client.post("/v1/explain", content=png(3), headers={"X-Label": "3"})
        assert (done.status_code, "maps are not compared" in done.json()["detail"]) == (422, True)


def test_without_a_shadow_nothing_is_new(client: TestClient) -> None:
    assert client.get("/shadow").status_code == 404
    assert "shadow" not in client.get("/metrics").text
    assert "/shadow" not in client.get("/openapi.json").json()["paths"]
    done = client.post("/v1/classify", content=png(3), headers={"X-Label": "3"})
    assert (done.status_code, "no effect" in done.json()["detail"]) == (422, True)


def test_the_sample_is_the_fraction(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([0.04, 0.06, 0.05, 0.0, 0.9, 0.049])
    monkeypatch.setattr(shadow_module.random, "random", lambda: next(numbers))
    with shadowed(worker("b", FakeEngine()), shadow_fraction=0.05) as (service, client, _):
        assert client.post("/v2/models/a/infer", json=tensor(0, 1, 2, 3, 4, 5)).status_code == 200
        until(lambda: service.shadow and service.shadow.report.n == 3)
        assert next(numbers, None) is None


def test_nothing_is_compared_while_a_request_is_in_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "WAITING", 2)
    gated, b = GatedEngine(), FakeEngine()
    with shadowed(worker("b", b), worker("c", gated)) as (service, client, _):
        assert service.shadow
        answers = []
        send = lambda: answers.append(client.post("/v1/classify?model=c", content=png(1)).status_code)  # noqa: E731
        slow = threading.Thread(target=send)
        slow.start()
        gated.begun.acquire()
        assert client.post("/v2/models/a/infer", json=tensor(0, 1, 2, 3, 4)).status_code == 200
        until(lambda: service.shadow.report.dropped.total())
        pause = service.admission.admitted + 4
        while service.admission.admitted < pause:  # four more turns of the loop that waits
            assert client.post("/v1/classify?model=a", content=png(1)).status_code == 200
            time.sleep(2 * shadow_module.IDLE_SECONDS)
        assert b.calls == []
        gated.gate.set()
        slow.join()
        until(lambda: service.shadow.report.n == 2)
        assert (answers, b.calls) == ([200], [1, 1]), "one image at a time"
        assert values(client, "wrn_shadow_dropped_total") == {"full": 7}


def test_a_shutdown_does_not_wait_for_the_sample() -> None:
    b = GatedEngine()
    with shadowed(worker("b", b)) as (service, client, _):
        assert client.post("/v2/models/a/infer", json=tensor(0, 1, 2)).status_code == 200
        b.begun.acquire()                          # B works on the first image
        assert (service.admission.requests, service.admission.images) == (0, 0)
        service.admission.draining = True
        b.gate.set()
        assert service.shadow
        until(lambda: service.shadow._task and service.shadow._task.done())
        assert (service.shadow.report.n, b._engine.calls) == (1, [1])


def test_another_crop_is_decoded_again_or_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle()
    other = replace(bundle, card=replace(bundle.card, preprocess=replace(bundle.card.preprocess, resize=40)))
    with shadowed(worker("b", FakeEngine(), other)) as (service, client, _):
        assert client.post("/v1/classify", content=png(3)).status_code == 200
        until(lambda: service.shadow and service.shadow.report.n == 1)
        assert client.post("/v2/models/a/infer", json=tensor(0, 1)).status_code == 200
        monkeypatch.setattr(shadow_module, "MAX_ENCODED", 10)
        assert client.post("/v1/classify", content=png(4)).status_code == 200
        until(lambda: service.shadow and service.shadow.report.dropped.total() == 3)
        assert values(client, "wrn_shadow_dropped_total") == {"tensor": 2, "large": 1}
        assert values(client, "wrn_shadow_decoded_again_total") == {"": 1}
        assert values(client, "wrn_shadow_pictures_total") == {"same": 1, "different": 0}


def test_mean_and_deviation_are_in_the_graph_so_one_crop_serves_both() -> None:
    bundle = tiny_bundle()
    spec = replace(bundle.card.preprocess, mean=(0.5, 0.5, 0.5))
    other = replace(bundle, card=replace(bundle.card, preprocess=spec))
    with shadowed(worker("b", FakeEngine(), other)) as (service, client, _):
        assert client.post("/v1/classify", content=png(3)).status_code == 200
        until(lambda: service.shadow and service.shadow.report.n == 1)
        assert service.shadow
        assert service.shadow.report.decoded_again == 0


@pytest.mark.parametrize("error", [MemoryError("no memory for B"), SystemExit("no memory for B")])
def test_a_failing_shadow_fails_no_request(error: BaseException) -> None:
    """SystemExit would end the service."""
    with shadowed(worker("b", Failing(error))) as (service, client, log):
        done = client.post("/v2/models/a/infer", json=tensor(1, 2))
        assert done.status_code == 200
        until(lambda: service.shadow and service.shadow.report.dropped["failed"] == 2)
        assert [line for line in log if "failed" in line] == [f"shadow: b failed: {error!r}"]
        assert client.post("/v2/models/a/infer", json=tensor(1)).status_code == 200


def test_a_reload_keeps_the_counts_of_the_same_graphs_only() -> None:
    with shadowed(worker("b", FakeEngine())) as (service, client, log):
        assert service.shadow
        client.post("/v1/classify", content=png(3))
        until(lambda: service.shadow.report.n == 1)
        service.set_models({"a": worker("a", FakeEngine()), "b": worker("b", FakeEngine())})
        assert service.shadow.report.n == 1
        assert not log
        b = worker("b", FakeEngine(), graph="c" * 64)
        service.set_models({"a": worker("a", FakeEngine()), "b": b})
        assert (service.shadow.report.n, service.shadow.report.graphs[1]) == (0, "c" * 64)
        assert log == ["shadow: a graph has changed, the counts of 1 images begin again"]
        client.post("/v1/classify", content=png(3))
        until(lambda: service.shadow.report.n == 1)


def test_what_was_sampled_before_a_reload_is_not_compared_with_the_new_model() -> None:
    gated = GatedEngine()
    with shadowed(worker("b", gated)) as (service, client, _):
        assert service.shadow
        client.post("/v1/classify", content=png(3))
        gated.begun.acquire()
        service.set_models({"a": worker("a", FakeEngine()), "b": worker("b", FakeEngine(), graph="c" * 64)})
        gated.gate.set()
        until(lambda: service.shadow.report.dropped["reload"] == 1)
        assert service.shadow.report.n == 0


def turned() -> Bundle:
    """A model with the same classes in another order."""
    bundle = tiny_bundle()
    return replace(bundle, labels=Labels((*bundle.labels.names[1:], bundle.labels.names[0]), ()))


def test_models_that_cannot_be_compared_are_refused_at_the_start() -> None:
    service = Service(ServeSettings(shadow="a=b"))
    with pytest.raises(ConfigError, match="--shadow names 'b', which is not served") as caught:
        service.set_models({name: worker(name, FakeEngine()) for name in "ac"})
    assert caught.value.hint == "the models are a, c"
    with pytest.raises(ConfigError) as caught:
        Service(ServeSettings(shadow="m/1=m/3")).set_models({"m/3": worker("m/3", FakeEngine())})
    assert caught.value.hint == "raise --versions, or name one that is served: m/3"
    with pytest.raises(DataError, match="different classes, or the same in another order"):
        service.set_models({"a": worker("a", FakeEngine()), "b": worker("b", FakeEngine(), turned())})
    assert not service.models
    assert TestClient(make_app(service)).get("/shadow").status_code == 503


def test_later_they_pause_the_comparison_and_the_service_goes_on() -> None:
    """A model may be unloaded, or replaced by one of other classes; counts go on when the same graph is back."""
    a, b = worker("a", FakeEngine()), worker("b", FakeEngine())
    with shadowed(b) as (service, client, log):
        assert service.shadow
        for models in ({"a": a}, {"a": a}, {"a": a, "b": worker("b", FakeEngine(), turned())}):
            service.set_models(models)
            assert client.post("/v1/classify?model=a", content=png(3)).status_code == 200
            assert "<dt>paused</dt>" in client.get("/shadow").text
            labelled = client.post("/v1/classify?model=a", content=png(3), headers={"X-Label": "cat"})
            assert (labelled.status_code, "the comparison pauses" in labelled.text) == (422, True)
            assert 'wrn_shadow_paused{model="a",shadow="b"} 1.0' in client.get("/metrics").text
        assert log == ["shadow: paused: --shadow names 'b', which is not served"]
        service.set_models({"a": a, "b": b})
        assert client.post("/v1/classify", content=png(3)).status_code == 200
        until(lambda: service.shadow.report.n == 1)
        assert 'wrn_shadow_paused{model="a",shadow="b"} 0.0' in client.get("/metrics").text
        assert log[1:] == ["shadow: goes on"]
        service.set_models({"b": b})
        assert "<dt>paused</dt>" in client.get("/shadow").text
        assert len(log) == 3


def test_a_name_without_version_is_the_newest_version() -> None:
    b = worker("b", FakeEngine())
    with shadowed(b) as (service, _, _):
        assert service.shadow
        newest, older = worker("b/3", FakeEngine(), graph="c" * 64), worker("b/2", FakeEngine())
        service.set_models({"a": worker("a", FakeEngine()), "b/3": newest, "b/2": older})
        assert (service.shadow.report.paused, service.shadow.report.graphs[1]) == ("", "c" * 64)


def test_the_page_loads_nothing_and_has_the_policy_of_the_service() -> None:
    with shadowed(worker("b", Mapped({3: 5, 2: 1})), shadow="a=b") as (service, client, _):
        assert "nan" not in client.get("/shadow").text.lower()
        for label in (3, 3, 2, 7):
            client.post("/v1/classify", content=png(label))
        until(lambda: service.shadow and service.shadow.report.n == 4)
        done = client.get("/shadow")
        assert done.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in done.headers["content-security-policy"]
        assert re.findall(r'(?:src|href)="([^"]+)"', done.text) == ["static/icon.svg"]
        assert "<script" not in done.text
        assert "cat → dog" in done.text
        assert "25.00 %" in done.text


def test_another_rule_over_the_same_members_is_another_model() -> None:
    identity = {"graph_sha256": "members", "weights_sha256": "rule 1"}
    hashes = [
        _hash_of(SimpleNamespace(cascade=cascade, identity=identity | {"weights_sha256": rule}))  # type: ignore[arg-type]
        for cascade in (object(), None) for rule in ("rule 1", "rule 2")
    ]  # fmt: skip
    assert hashes == ["rule 1", "rule 2", "members", "members"]
