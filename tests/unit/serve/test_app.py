"""The routes over a fake engine: answers, and what is said of requests that get none."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from fakes import FakeEngine
from serving import NAME, png
from tiffs import tiff
from wideresnet.serve.app import make_app

MULTIPART = {"Content-Type": "multipart/form-data; boundary=xyz"}


def labels(result: dict) -> list[int]:
    return [each["index"] for each in result["predictions"]]


# Classify


def test_a_bare_picture_gets_its_classes_and_who_answered(client) -> None:
    answer = client.post("/v1/classify?k=3", content=png(4)).json()
    assert labels(answer["results"][0]) == [4, 3, 5]
    assert answer["results"][0]["predictions"][0]["label"] == "deer"
    assert answer["model"]["name"] == NAME
    assert answer["model"]["engine"]["runtime"] == "fake"
    assert set(answer["milliseconds"]) == {"read", "decode", "wait", "infer", "total"}
    assert answer["milliseconds"]["total"] >= answer["milliseconds"]["infer"]


def test_labels_are_translated_where_there_is_a_translation(client) -> None:
    answer = client.post("/v1/classify?k=1&lang=zh", content=png(3)).json()
    assert answer["results"][0]["predictions"][0]["label"] == "猫"


def test_several_files_are_answered_in_their_order_and_an_unreadable_one_at_its_place(client) -> None:
    files = [("a", ("one.png", png(1))), ("a", ("二.png", b"none")), ("b", ("three.png", png(7)))]
    done = client.post("/v1/classify", files=files)
    assert done.status_code == 200
    one, two, three = done.json()["results"]
    assert (labels(one)[0], labels(three)[0]) == (1, 7)
    assert two == {"name": "二.png", "error": "not a picture but text", "hint": two["hint"]}
    assert [one["name"], three["name"]] == ["one.png", "three.png"]


def test_a_photograph_is_turned_upright(client, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        "wideresnet.serve.models.read_crop",
        lambda _data, _spec, *, exif, limits: seen.append(exif) or FakeEngine().picture(0),
    )
    assert client.post("/v1/classify", content=png(1)).status_code == 200
    assert seen == ["transpose"]


def test_when_no_picture_can_be_read_it_is_400(client) -> None:
    done = client.post("/v1/classify", content=b"none")
    assert done.status_code == 400
    assert done.headers["content-type"] == "application/problem+json"
    assert done.json()["detail"] == "not a picture but text"
    assert done.json()["hint"].startswith("give a picture")
    several = client.post("/v1/classify", files=[("a", ("1", b"none")), ("a", ("2", b""))])
    assert several.status_code == 400
    assert len(several.json()["results"]) == 2


def test_an_image_of_other_numbers_is_400_with_what_it_holds(client) -> None:
    """Heights in metres are no brightness: not black for every file, and not "damaged"."""
    done = client.post("/v1/classify", content=tiff(np.full((8, 8, 1), 812.5, np.float32)))
    assert done.status_code == 400
    assert done.json()["detail"] == "the image holds float32 values from 812.5 to 812.5, outside 0..1"
    assert "gdal_translate" in done.json()["hint"]


def test_a_strip_is_answered(client) -> None:
    """5000 pixels wide and one high, as torchvision crops it."""
    file = io.BytesIO()
    Image.new("RGB", (5000, 1), "white").save(file, "PNG")
    done = client.post("/v1/classify?k=1", content=file.getvalue())
    assert labels(done.json()["results"][0]) == [9]


@pytest.mark.parametrize(
    ("query", "content", "headers", "status", "words"),
    [
        ("?k=0", b"x", {}, 422, "k must be"),
        ("?k=101", b"x", {}, 422, "k must be"),
        ("?k=1_0", b"x", {}, 422, "k must be"),
        ("?lang=fr", b"x", {}, 422, "no labels in 'fr'"),
        ("?model=../../etc/passwd", b"x", {}, 404, "no model called"),
        ("?model=wrn_10_1.tin", b"x", {}, 404, "no model called"),
        ("", b"{}", {"Content-Type": "application/json"}, 415, "application/json"),
        ("", b"x", {"Content-Encoding": "gzip"}, 415, "compressed"),
        ("", b"x", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        ("", b"--abc\r\n", MULTIPART, 400, "damaged"),
        ("", b"--xyz\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\nx", MULTIPART, 400, "cut short"),
        ("", b"--xyz\r\nContent-Disposition: form-data; name=k\r\n\r\n5\r\n--xyz--\r\n", MULTIPART, 422, "'k'"),
        ("", b"--xyz--\r\n", MULTIPART, 422, "holds no file"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_said_with_its_status(client, query, content, headers, status, words) -> None:
    done = client.post(f"/v1/classify{query}", content=content, headers=headers)
    assert done.status_code == status
    assert words in done.json()["detail"]
    assert done.json()["status"] == status


def test_limits_on_bytes_files_and_pixels(make_service) -> None:
    with TestClient(make_app(make_service(max_bytes=1000, max_pictures=2))) as client:
        announced = client.post("/v1/classify", content=bytes(1001))
        streamed = client.post("/v1/classify", content=iter([bytes(600)] * 9))
        assert (announced.status_code, streamed.status_code) == (413, 413)
        assert streamed.headers["connection"] == "close"
        three = client.post("/v1/classify", files=[("a", ("1", b"x"))] * 3)
        assert three.status_code == 413
        assert "more than 2 pictures" in three.json()["detail"]
        assert client.post("/v1/classify", content=png(1)).status_code == 200


def test_other_paths_and_methods(client) -> None:
    assert client.get("/etc/passwd").status_code == 404
    assert client.get("/v1/classify/").json()["type"] == "urn:wideresnet:problem:route"
    assert client.get("/v1/classify").status_code == 405
    words = "there is nothing at this path (GET /docs lists what there is)"
    assert client.get("/v2/nothing").json() == {"error": words}


# Faults


class Broken:
    info = FakeEngine().info

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, batch):
        raise self.error


@pytest.mark.parametrize("error", [ValueError("secret"), MemoryError(), SystemExit(3)])
def test_a_crash_in_a_worker_is_one_500_and_not_the_end(make_service, caplog, error) -> None:
    service = make_service(Broken(error))
    with TestClient(make_app(service)) as client:
        done = client.post("/v1/classify", content=png(1), headers={"X-Request-ID": "my-1"})
        assert done.status_code == 500
        assert "secret" not in done.text
        assert "my-1" in caplog.text
        assert client.post(f"/v2/models/{NAME}/infer", json=images(1)).status_code == 500
        assert client.get("/healthz").status_code == 200
        assert (service.house.pictures, service.house.requests, service.house.bytes) == (0, 0, 0)


def images(label: int, count: int = 1) -> dict:
    data = [FakeEngine().picture(label).tolist()] * count
    return {"inputs": [{"name": "images", "shape": [count, 32, 32, 3], "datatype": "UINT8", "data": data}]}


# The Open Inference Protocol


def test_the_metadata_of_the_protocol(client) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data", "classification"]
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    for path in (f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/1"):
        about = client.get(path).json()
        assert about["inputs"][0] == {"name": "images", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}
        assert about["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}]
        assert client.get(f"{path}/ready").status_code == 200
    for path in ("/v2/models/other", f"/v2/models/{NAME}/versions/2", f"/v2/models/{NAME}/versions/2/ready"):
        assert client.get(path).status_code == 404
        assert "error" in client.get(path).json()


def test_a_tensor_as_json_gets_its_logits(client) -> None:
    answer = client.post(f"/v2/models/{NAME}/infer", json=images(6, count=11) | {"id": "7"}).json()
    (output,) = answer["outputs"]
    assert (answer["id"], answer["model_name"], output["shape"]) == ("7", NAME, [11, 10])
    assert output["data"] == [-abs(float(index - 6)) for index in range(10)] * 11


def test_an_unreadable_picture_fails_a_request_of_the_protocol(client) -> None:
    wrong = {"inputs": [{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": ["bm9uZQ=="]}]}
    done = client.post(f"/v2/models/{NAME}/infer", json=wrong)
    assert done.status_code == 400
    assert done.json()["error"].startswith("picture 0: not a picture but text (")


# Around


def test_before_the_models_are_open_it_lives_and_is_not_ready(make_service) -> None:
    service = make_service()
    service.use({})
    with TestClient(make_app(service)) as client:
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 503
        done = client.post("/v1/classify", content=png(1))
        assert (done.status_code, done.headers["retry-after"]) == (503, "1")


def test_what_drains_lets_nobody_in(make_service) -> None:
    service = make_service()
    service.house.draining = True
    with TestClient(make_app(service)) as client:
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get(f"/v2/models/{NAME}/ready").status_code == 503
        assert client.post("/v1/classify", content=png(1)).json()["type"] == "urn:wideresnet:problem:draining"


@pytest.fixture
def guarded(make_service) -> Iterator[TestClient]:
    with TestClient(make_app(make_service(token="sesame"))) as client:
        yield client


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Basic sesame", "Bearer", "sesame", "Bearer sésame"])
def test_without_the_token_only_probes_and_documents_are_open(guarded, given) -> None:
    headers = {} if given is None else {"Authorization": given.encode()}
    for path in ("/v1/models", "/v2", "/metrics", "/v1/nothing"):
        done = guarded.get(path, headers=headers)
        assert (done.status_code, done.headers["www-authenticate"]) == (401, "Bearer")
    assert guarded.post("/v1/classify", content=png(1), headers=headers).status_code == 401
    for path in ("/healthz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"):
        assert guarded.get(path, headers=headers).status_code == 200


def test_with_the_token_all_is_open(guarded) -> None:
    assert guarded.get("/v1/models", headers={"Authorization": "Bearer sesame"}).status_code == 200
    assert "sesame" not in guarded.get("/openapi.json").text
    assert NAME not in guarded.get("/openapi.json").text


def test_other_origins_are_refused_unless_named(client, make_service) -> None:
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/v1/classify", headers=asks).headers
    with TestClient(make_app(make_service(cors=("https://a.example",)))) as open_:
        assert open_.options("/v1/classify", headers=asks).headers["access-control-allow-origin"] == asks["Origin"]


def test_every_answer_has_an_id_and_the_headers_of_a_careful_page(client) -> None:
    for path in ("/docs", "/v1/nothing"):
        headers = client.get(path, headers={"X-Request-ID": "abc-1"}).headers
        assert headers["x-request-id"] == "abc-1"
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src 'self';" in headers["content-security-policy"]
    assert client.get("/docs", headers={"X-Request-ID": "a\tb c"}).headers["x-request-id"].isalnum()


def test_the_access_log_has_a_line_for_each_request_and_no_token(make_service) -> None:
    lines: list[str] = []
    service = make_service(log="json", token="sesame")
    service._write = lines.append
    service.say("hello")
    with TestClient(make_app(service)) as client:
        client.post("/v1/classify", content=png(1), headers={"Authorization": "Bearer sesame", "X-Request-ID": "a"})
    words, line = map(json.loads, lines)
    assert words["message"] == "hello"
    assert (line["id"], line["status"], line["pictures"], line["bytes"]) == ("a", 200, 1, len(png(1)))
    assert "sesame" not in lines[1]


def test_metrics_count_by_route_model_and_status(client) -> None:
    client.post("/v1/classify", content=png(1))
    client.post("/v1/classify", content=b"none")
    client.get("/no/such/path")
    page = client.get("/metrics").text
    assert f'wrn_requests_total{{model="{NAME}",route="/v1/classify",status="200"}} 1.0' in page
    assert f'wrn_requests_total{{model="{NAME}",route="/v1/classify",status="400"}} 1.0' in page
    assert 'wrn_requests_total{model="",route="other",status="404"} 1.0' in page
    assert 'wrn_failures_total{kind="picture"} 1.0' in page
    assert f'wrn_stage_seconds_count{{model="{NAME}",stage="decode"}} 2.0' in page
    assert f'wrn_pictures_total{{model="{NAME}"}} 2.0' in page
    assert 'wrn_model_info{architecture="wrn_10_1"' in page
    assert "wrn_queue_depth 0.0" in page


def test_the_models_are_listed(client) -> None:
    listed = client.get("/v1/models").json()
    assert listed["default"] == NAME
    assert listed["models"][0]["preprocess"]["crop"] == 32


def test_the_openapi_document_and_its_page_know_every_route(client) -> None:
    document = client.get("/openapi.json").json()
    served = {route.path for route in client.app._app.routes if "/versions/" not in route.path}
    pages = {path for path in served if path in ("/", "/docs", "/openapi.json") or path.startswith("/static/")}
    assert served - pages == set(document["paths"])
    page = client.get("/docs").text
    for path in document["paths"]:
        assert path in page
    assert "<script" not in page
    assert "http" not in page.replace("http</", "")
