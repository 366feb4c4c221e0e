"""The service with a calibrated model: sets, unknown images, and the metrics that tell a change of the input."""

from __future__ import annotations

import copy
import io
import json
import re
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from fakes import tiny_bundle, tiny_images, wary_bundle
from serving import open_model
from wideresnet.bundle import Bundle
from wideresnet.engines import open_engine
from wideresnet.images.decode import Limits
from wideresnet.serve.app import make_app
from wideresnet.serve.metrics import WINDOW, distance_from_uniform
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.worker import ModelWorker
from wideresnet.tasks.load.load import open_classifier

IMAGES = tiny_images(8, 32)
KNOWN = ("p_known", "unknown", "set")


def encoded(index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGES[index]).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def calibrated() -> Bundle:
    return wary_bundle(IMAGES)


@pytest.fixture
def service(calibrated: Bundle) -> Service:
    """A calibrated model, and the same one without its calibration."""
    service, limits, slots = Service(ServeSettings()), Limits(2**20, 2**20), threading.BoundedSemaphore(2)
    plain = open_model(tiny_bundle(), open_engine(tiny_bundle()))
    service.set_models({"sure": ModelWorker("sure", open_classifier(calibrated), slots, limits), "plain": plain})
    return service


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    """One event loop for all requests: the lock of large JSON bodies is released after a pause."""
    with TestClient(make_app(service)) as client:
        yield client


def test_answers_are_those_of_the_classifier(client: TestClient, calibrated: Bundle) -> None:
    expected = open_classifier(calibrated).classify(list(IMAGES), k=3, coverage=0.75)
    for index, answer in enumerate(expected):
        (result,) = client.post("/v1/classify?k=3&coverage=75", content=encoded(index)).json()["results"]
        assert result["p_known"] == answer.p_known
        assert result["unknown"] == answer.unknown
        assert result["set"] == list(answer.set or ())
    assert len({answer.unknown for answer in expected}) == 2
    (result,) = client.post("/v1/classify?coverage=75&lang=zh", content=encoded(0)).json()["results"]
    assert result["set"][0] == result["predictions"][0]["label"]


def test_sets_are_there_on_request_only(client: TestClient) -> None:
    (result,) = client.post("/v1/classify", content=encoded(0)).json()["results"]
    assert set(result) == {"name", "predictions", "p_known", "unknown"}


def test_without_a_calibration_answers_and_metrics_have_nothing_new(client: TestClient) -> None:
    (result,) = client.post("/v1/classify?model=plain", content=encoded(0)).json()["results"]
    assert set(result) == {"name", "predictions"}
    assert '{model="plain"}' not in "".join(re.findall("^wrn_(?:unknown|conf|p_val).*", metrics(client), re.MULTILINE))
    alone = Service(ServeSettings())
    alone.set_models({"plain": open_model(tiny_bundle(), open_engine(tiny_bundle()))})
    only = TestClient(make_app(alone))
    assert only.post("/v1/classify", content=encoded(0)).status_code == 200
    assert not re.search("unknown|confidence|p_value", metrics(only))
    assert [output["name"] for output in only.get("/v2/models/plain").json()["outputs"]] == ["logits"]
    assert "calibration" not in only.get("/v1/models").json()["models"][0]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("coverage=95&model=plain", "it is not calibrated"), ("coverage=x", "coverage must be a percentage, got 'x'"),
        ("coverage=0.75", "from 50 to 99.9 %, got 0.75 %"), ("coverage=0", "must be a percentage"),
        ("coverage=150", "from 50 to 99.9 %, got 150 %"),
        ("coverage=9500", "must be a percentage, got '9500'"), ("coverage=nan", "must be a percentage, got 'nan'"),
        ("coverage=7_5", "got '7_5'"), ("coverage=%2B75", "got '+75'"), ("coverage=7.5e1", "got '7.5e1'"),
        ("coverage=%2075", "got ' 75'"), ("coverage=%D9%A7%D9%A5", "got '٧٥'"), ("coverage=75.", "got '75.'"),
        ("coverage=99.9", "take 999 calibration images"),
    ],
)  # fmt: skip
def test_what_cannot_be_promised_is_refused(client: TestClient, query: str, message: str) -> None:
    done = client.post(f"/v1/classify?{query}", content=encoded(0))
    assert (done.status_code, message in done.json()["detail"]) == (422, True), done.text
    assert done.json()["hint"]


def test_p_known_is_an_output_of_v2(client: TestClient, calibrated: Bundle) -> None:
    expected = [answer.p_known for answer in open_classifier(calibrated).classify(list(IMAGES))]
    metadata = client.get("/v2/models/sure").json()["outputs"]
    assert metadata[1] == {"name": "p_known", "datatype": "FP32", "shape": [-1, 1]}
    assert client.get("/v2/models/sure/config").json()["output"][1]["dims"] == [1]
    tensor = {"name": "images", "shape": [8, 32, 32, 3], "datatype": "UINT8", "data": IMAGES.ravel().tolist()}

    def outputs(*names: str) -> dict[str, object]:
        wanted = {"outputs": [{"name": name} for name in names]} if names else {}
        done = client.post("/v2/models/sure/infer", json={"inputs": [tensor], **wanted})
        assert done.status_code == 200, done.text
        return {output["name"]: output["data"] for output in done.json()["outputs"]}

    assert outputs("p_known") == {"p_known": expected}
    assert list(outputs()) == ["logits", "p_known"]
    assert list(outputs("logits")) == ["logits"]
    done = client.post("/v2/models/plain/infer", json={"inputs": [tensor], "outputs": [{"name": "p_known"}]})
    assert done.status_code == 422


TENSOR = {"name": "images", "shape": [8, 32, 32, 3], "datatype": "UINT8", "data": IMAGES.ravel().tolist()}


@pytest.mark.parametrize("coverage", [75, 75.0, "75"])
@pytest.mark.parametrize("binary", [True, False])
def test_sets_are_an_output_of_v2(client: TestClient, calibrated: Bundle, coverage: object, binary: bool) -> None:
    """The metadata lists it, and a request with a coverage gets it; its classes are those of /v1 and of Python."""
    outputs = client.get("/v2/models/sure").json()["outputs"]
    assert outputs[2] == {"name": "set", "datatype": "BOOL", "shape": [-1, 10]}
    described = client.get("/openapi.json").json()["components"]["schemas"]["InferRequest"]["properties"]["outputs"]
    assert described["items"]["properties"]["name"]["enum"] == [output["name"] for output in outputs]
    configured = {"name": "set", "data_type": "TYPE_BOOL", "dims": [10]}
    assert client.get("/v2/models/sure/config").json()["output"][2] == configured
    parameters = {"coverage": coverage, "binary_data_output": binary}
    done = client.post("/v2/models/sure/infer", json={"inputs": [TENSOR], "parameters": parameters})
    assert done.status_code == 200, done.text
    length = int(done.headers.get("Inference-Header-Content-Length", len(done.content)))
    document, blob = json.loads(done.content[:length]), done.content[length:]
    assert [output["name"] for output in document["outputs"]] == ["logits", "p_known", "set"]
    assert "parameters" not in document
    output = document["outputs"][2]
    members = np.frombuffer(blob[-80:], bool) if binary else np.array(output["data"])
    assert (output["datatype"], output["shape"], members.dtype) == ("BOOL", [8, 10], bool)
    answers = open_classifier(calibrated).classify(list(IMAGES), coverage=0.75)
    names = np.array(calibrated.labels.names)
    assert [{*names[row]} for row in members.reshape(8, 10)] == [{*(answer.set or ())} for answer in answers]
    logits = np.frombuffer(blob[:320], "<f4") if binary else np.array(document["outputs"][0]["data"], np.float32)
    plain = client.post("/v2/models/sure/infer", json={"inputs": [TENSOR]}).json()["outputs"]
    assert ([output["name"] for output in plain], plain[0]["data"]) == (["logits", "p_known"], logits.tolist())


@pytest.mark.parametrize(
    ("model", "request_", "message", "hint"),
    [
        ("plain", {"parameters": {"coverage": 95}}, "not calibrated", "--data LABELLED -o BUNDLE"),
        ("plain", {"parameters": {"coverage": 95}, "outputs": [{"name": "set"}]}, "not calibrated", "wrn calibrate"),
        ("sure", {"parameters": {"coverage": "x"}}, "coverage must be a percentage, got 'x'", '{"coverage": 95}'),
        ("sure", {"parameters": {"coverage": True}}, "coverage must be a percentage, got 'True'", '{"coverage": 95}'),
        ("sure", {"parameters": {"coverage": "7_5"}}, "coverage must be a percentage, got '7_5'", '{"coverage": 95}'),
        ("sure", {"parameters": {"coverage": [75]}}, "coverage must be a percentage, got '[75]'", '{"coverage": 95}'),
        ("sure", {"parameters": {"coverage": 0}}, "coverage must be a percentage, got '0'", '{"coverage": 95}'),
        ("sure", {"parameters": {"coverage": 0.75}}, "from 50 to 99.9 %, got 0.75 %", '{"coverage": 95}'),
        ("sure", {"parameters": {"coverage": 99.9}}, "take 999 calibration images", "wrn calibrate -m MODEL"),
        ("sure", {"outputs": [{"name": "set"}]}, "belong together", '{"coverage": 95}'),
        ("sure", {"parameters": {"coverage": 75}, "outputs": [{"name": "logits"}]}, "belong together", "set among"),
    ],
)  # fmt: skip
def test_sets_that_v2_cannot_give_are_refused(
    client: TestClient, model: str, request_: dict[str, object], message: str, hint: str
) -> None:
    done = client.post(f"/v2/models/{model}/infer", json={"inputs": [TENSOR], **request_})
    error = done.json()["error"]
    assert (done.status_code, message in error, hint in error) == (422, True, True), error


def test_metrics_count_every_image_of_both_protocols(client: TestClient, service: Service, calibrated: Bundle) -> None:
    answers = open_classifier(calibrated).classify(list(IMAGES))
    for index in range(4):
        client.post("/v1/classify", content=encoded(index))
    tensor = {"name": "images", "shape": [4, 32, 32, 3], "datatype": "UINT8", "data": IMAGES[4:].ravel().tolist()}
    client.post("/v2/models/sure/infer", json={"inputs": [tensor]})
    assert value(client, "wrn_unknown_total") == sum(bool(answer.unknown) for answer in answers)
    assert value(client, "wrn_confidence_count") == 8
    confidence = sum(answer.predictions[0].probability for answer in answers)
    assert value(client, "wrn_confidence_sum") == pytest.approx(confidence)
    assert value(client, "wrn_p_value_images") == 8
    p_values = [answer.p_known or 0 for answer in answers]
    assert value(client, "wrn_p_value_distance") == pytest.approx(distance_from_uniform(p_values))
    service.set_models(dict(service.models))       # a reload of another model
    assert value(client, "wrn_p_value_images") == 8
    service.set_models({"sure": copy.copy(service.models["sure"])})    # of this model: its window begins again
    assert (value(client, "wrn_p_value_images"), value(client, "wrn_confidence_count")) == (0, 8)


def metrics(client: TestClient) -> str:
    return client.get("/metrics").text


def value(client: TestClient, name: str) -> float:
    (number,) = re.findall(rf'^{name}{{model="sure"}} (\S+)$', metrics(client), re.MULTILINE)
    return float(number)


def test_the_distance_is_that_of_kolmogorov_and_smirnov() -> None:
    even = [(rank + 0.5) / WINDOW for rank in range(WINDOW)]
    assert distance_from_uniform(even) == pytest.approx(0.5 / WINDOW)
    assert distance_from_uniform([0.2]) == pytest.approx(0.8)
    assert distance_from_uniform([0.1, 0.2, 0.3]) == pytest.approx(0.7)
    assert distance_from_uniform([value / 2 for value in even]) == pytest.approx(0.5, abs=0.001)
    assert np.isnan(distance_from_uniform([]))


def test_p_values_of_a_replaced_model_are_not_those_of_its_successor(service: Service, calibrated: Bundle) -> None:
    """A request that was in work during a reload ends after it."""
    before, limits, slots = service.models["sure"], Limits(2**20, 2**20), threading.BoundedSemaphore(2)
    after = ModelWorker("sure", open_classifier(calibrated), slots, limits)
    service.set_models({"sure": after})
    service.metrics.observe_certainties(before, [(0.5, 0.9)])
    assert b'wrn_p_value_images{model="sure"} 0.0' in service.metrics.render()
    service.metrics.observe_certainties(after, [(0.5, 0.9)])
    assert b'wrn_p_value_images{model="sure"} 1.0' in service.metrics.render()
    assert b'wrn_confidence_count{model="sure"} 2.0' in service.metrics.render()
