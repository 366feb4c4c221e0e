"""Models with versions: how requests name them, and what the routes say of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from starlette.testclient import TestClient

from fakes import FakeEngine
from serving import png
from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.images.decode import Limits
from wideresnet.serve.app import make_app
from wideresnet.serve.service import Service
from wideresnet.serve.worker import ModelWorker


def fake_model(name: str, bundle: Bundle) -> ModelWorker:
    classifier = Classifier(bundle.card, bundle.labels, FakeEngine())
    return ModelWorker(name, classifier, threading.BoundedSemaphore(2), Limits(2**20, 2**20))


def test_requests_name_a_model_and_a_version(bundle: Bundle, make_service: Callable[..., Service]) -> None:
    service = make_service()
    service.set_models({name: fake_model(name, bundle) for name in ("m/10", "m/9", "plain")})
    with TestClient(make_app(service)) as client:
        for query, name in ("", "m/10"), ("?model=m", "m/10"), ("?model=m/9", "m/9"), ("?model=plain/1", "plain"):
            assert client.post(f"/v1/classify{query}", content=png(3)).json()["model"]["name"] == name
        for query, error in (
            ("?model=m/1", "m has no version '1'"), ("?model=m/", "m has no version ''"),
            ("?model=m/9/9", "m has no version '9/9'"), ("?model=plain/2", "plain has no version '2'"),
            ("?model=/9", "no model called ''"),
        ):  # fmt: skip
            answer = client.post(f"/v1/classify{query}", content=png(3))
            assert (answer.status_code, answer.json()["detail"]) == (404, error)
        assert [model["name"] for model in client.get("/v1/models").json()["models"]] == ["m/10", "m/9", "plain"]
        image = {"inputs": [{"name": "images", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [0] * 3072}]}
        for path, version in ("m", "10"), ("m/versions/10", "10"), ("m/versions/9", "9"):
            about = client.get(f"/v2/models/{path}").json()
            assert (about["name"], about["versions"]) == ("m", ["10", "9"])
            assert client.get(f"/v2/models/{path}/ready").json() == {"name": "m", "ready": True}
            assert client.get(f"/v2/models/{path}/config").json()["name"] == "m"
            answer = client.post(f"/v2/models/{path}/infer", json=image).json()
            assert (answer["model_name"], answer["model_version"]) == ("m", version)
        for version in ("1", "010", "9e0"):
            assert client.post(f"/v2/models/m/versions/{version}/infer", json=image).status_code == 404
        counts = client.get("/v2/models/m/stats").json()["model_stats"]
        assert [(item["name"], item["version"], item["inference_count"]) for item in counts] == [
            ("m", "10", 4), ("m", "9", 2)
        ]  # fmt: skip
        (count,) = client.get("/v2/models/m/versions/9/stats").json()["model_stats"]
        assert (count["version"], count["inference_stats"]["success"]["count"]) == ("9", 2)
        index = client.post("/v2/repository/index").json()
        assert [(item["name"], item["version"]) for item in index] == [("m", "10"), ("m", "9"), ("plain", "1")]
        document = client.get("/openapi.json").json()
        assert document["components"]["parameters"]["model"]["schema"] == {"enum": ["m", "plain"]}
        assert 'wrn_pictures_total{model="m/9"} 2.0' in client.get("/metrics").text
