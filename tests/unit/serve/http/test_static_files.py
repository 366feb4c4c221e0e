"""The static files of the page, and /v1/explain."""

from __future__ import annotations

import base64
import gc
import io
import re
import tomllib
from dataclasses import replace
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from fakes import tiny_bundle, tiny_images
from wideresnet.bundle import write_bundle
from wideresnet.images.decode import decode
from wideresnet.images.preprocess import preprocess
from wideresnet.records import Preprocess
from wideresnet.report.html import page as report
from wideresnet.serve.app import make_app
from wideresnet.serve.explain import crop_box
from wideresnet.serve.http.static_files import STATIC_FILES
from wideresnet.serve.models import open_models
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings
from wideresnet.tasks.classify.explain import explain

STATIC = resources.files("wideresnet.serve") / "static"
TEXTS = {file.name: file.read_text("utf-8") for file in STATIC.iterdir()}


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


# The files


@pytest.mark.parametrize("path", STATIC_FILES)
def test_every_file_is_served_with_its_type_and_a_strict_policy(client, path) -> None:
    name, kind = STATIC_FILES[path]
    done = client.get(path)
    assert done.status_code == 200
    assert done.content == (STATIC / name).read_bytes()
    assert done.headers["content-type"].startswith(kind)
    assert done.headers["x-content-type-options"] == "nosniff"
    policy = dict(directive.strip().split(" ", 1) for directive in done.headers["content-security-policy"].split(";"))
    assert policy.pop("img-src") == "'self' blob: data:"
    own = {name for name in policy if policy[name] == "'self'"}
    assert own == {"script-src", "style-src", "connect-src"}
    assert {policy[name] for name in policy if name not in own} == {"'none'"}
    assert {"default-src", "frame-ancestors", "base-uri", "form-action"} <= set(policy)


def test_the_files_come_with_the_package() -> None:
    """hatch packs the folder, except files that git ignores."""
    root = Path(__file__).parents[4]
    wheel = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/wideresnet"]}
    assert (root / "src/wideresnet/serve/static/index.html").is_file()
    ignored = (root / ".gitignore").read_text("utf-8").split()
    assert not [name for name in TEXTS for pattern in ignored if fnmatch(name, pattern)]
    assert "static/" not in ignored


def test_all_files_of_the_folder_are_served_and_no_other(client) -> None:
    assert set(TEXTS) == {name for name, _ in STATIC_FILES.values()}
    for path in ("/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/static/openapi.yaml", "/index.html"):
        assert client.get(path).status_code == 404


def test_the_page_needs_no_token_and_its_data_do(make_service) -> None:
    with TestClient(make_app(make_service(token="secret"))) as client:
        assert {client.get(path).status_code for path in STATIC_FILES} == {200}
        assert client.get("/v1/models").status_code == 401
        assert client.post("/v1/explain", content=b"x").status_code == 401


def test_nothing_is_fetched_from_elsewhere_and_nothing_is_inline() -> None:
    for name, text in TEXTS.items():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
    html = TEXTS["index.html"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", "".join(TEXTS.values()))
    scripts = "".join(text for name, text in TEXTS.items() if name.endswith(".js"))
    named = re.findall(r'(?:src|href)="([^"]+)"', html)
    named += [f"static/{name}" for name in re.findall(r'from "\./([^"]+)"', scripts)]
    assert {f"/{name}" for name in named} <= {*STATIC_FILES, "/docs", "/openapi.json"}


def test_every_text_of_the_page_is_in_both_languages() -> None:
    english, chinese = re.split(r"const ZH", TEXTS["words.js"])

    def keys(text: str) -> list[str]:
        return re.findall(r"^ {2}(\w+):", text, re.MULTILINE)

    assert keys(english) == keys(chinese)
    used = {
        *re.findall(r'data-word="(\w+)"', TEXTS["index.html"]),
        *re.findall(r"words(?:\(\))?\.(?!js)(\w+)", TEXTS["page.js"] + TEXTS["card.js"]),
        *re.findall(r'key: "(\w+)"', TEXTS["api.js"] + TEXTS["page.js"]),
    }
    assert used <= set(keys(english))


def test_page_and_reports_have_the_same_colours() -> None:
    def colours(text: str) -> list[tuple[str, str]]:
        return re.findall(r"--(ink|soft|rule|paper|band|c\d): (#\w+)", text)

    assert len(colours(TEXTS["page.css"])) == 22
    assert colours(TEXTS["page.css"]) == colours(Path(report.__file__).with_name("page.css").read_text("utf-8"))


# Explanations


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained") / "tiny"
    write_bundle(folder, tiny_bundle())
    return folder


@pytest.fixture(scope="module")
def explained(folder: Path) -> TestClient:
    settings = ServeSettings(models=(f"tiny={folder}",), threads=1, max_pixels=10_000)
    service = Service(settings)
    service.set_models(open_models(settings, lambda _: None))
    return TestClient(make_app(service))


def test_an_explanation_equals_the_python_functions(explained, folder) -> None:
    data = png(tiny_images(1, 48)[0])
    answer = explained.post("/v1/explain?class=3&class=cat&class=ship&lang=zh", content=data).json()
    (expected,) = explain(data, folder, classes=[3, 8])
    assert [document["index"] for document in answer["classes"]] == [3, 8]
    assert [document["label"] for document in answer["classes"]] == ["猫", "船"]
    for got, class_map in zip(answer["classes"], expected.maps, strict=True):
        assert got["logit"] == pytest.approx(class_map.logit, abs=1e-4)
        assert got["probability"] == pytest.approx(class_map.score.probability, abs=1e-4)
        assert got["peak"] == list(class_map.peak)
        overlay = base64.b64decode(got["overlay"].removeprefix("data:image/jpeg;base64,"))
        assert decode(overlay).shape == (256, 256, 3)
    crop = base64.b64decode(answer["crop"].removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(decode(crop), expected.crop)
    assert answer["model"]["name"] == "tiny"
    assert set(answer["milliseconds"]) == {"read", "explain", "total"}


def test_the_likeliest_classes_equal_those_of_classify(explained) -> None:
    data = png(tiny_images(2, 32)[1])
    best = explained.post("/v1/classify?k=2", content=data).json()["results"][0]["predictions"]
    shown = explained.post("/v1/explain?k=2", content=data).json()["classes"]
    assert [prediction["index"] for prediction in shown] == [prediction["index"] for prediction in best]


@pytest.mark.parametrize(
    ("query", "content", "status", "detail"),
    [
        ("?class=dgo", b"x", 422, "no class called 'dgo'"),
        ("?class=10", b"x", 422, "no class called '10'"),
        ("?class=1" + "&class=1" * 10, b"x", 422, "at most 10 classes"),
        ("?k=11", b"x", 422, "from 1 to 10"),
        ("?lang=fr", b"x", 422, "no labels in 'fr'"),
        ("?model=other", b"x", 404, "no model called 'other'"),
        ("", b"text", 400, "not an image but text"),
        ("", png(np.zeros((101, 100, 3), np.uint8)), 400, "more than the limit"),
    ],
)
def test_invalid_explain_requests_get_their_status_and_message(explained, query, content, status, detail) -> None:
    done = explained.post(f"/v1/explain{query}", content=content)
    assert done.status_code == status
    assert detail in done.json()["detail"]


def test_explain_takes_one_image_per_request(explained) -> None:
    done = explained.post("/v1/explain", files=[("a", ("1", b"x"))] * 2)
    assert (done.status_code, done.json()["detail"]) == (422, "one image per request, got 2")


def test_explanations_share_the_queue(make_service) -> None:
    service = make_service(queue=1)
    with TestClient(make_app(service)) as client:
        service.admission.images = 1
        assert client.post("/v1/explain", content=b"x").status_code == 429
        service.admission.images = 0
        assert client.post("/v1/explain", content=b"text").status_code == 400
    assert (service.admission.requests, service.admission.images, service.admission.bytes) == (0, 0, 0)


def test_a_model_that_changed_on_disk_is_not_explained(make_service, monkeypatch) -> None:
    monkeypatch.setattr("wideresnet.serve.explain.load_bundle", lambda _: replace(tiny_bundle(), graph=b"changed"))
    with TestClient(make_app(make_service())) as client:
        done = client.post("/v1/explain", content=png(tiny_images(1, 32)[0]))
    assert done.status_code == 500
    assert "has changed on disk" in done.json()["detail"]
    assert "SIGHUP" in done.json()["hint"]


def test_an_explainer_is_opened_on_demand_and_freed_with_its_model(folder) -> None:
    settings = ServeSettings(models=(str(folder),), threads=1)
    service = Service(settings)
    service.set_models(open_models(settings, lambda _: None))
    client, data = TestClient(make_app(service)), png(tiny_images(1, 32)[0])
    assert len(service.explanations._explainers) == 0
    for _ in range(2):
        assert client.post("/v1/explain", content=data).status_code == 200
    assert len(service.explanations._explainers) == 1
    service.set_models(open_models(settings, lambda _: None))
    gc.collect()
    assert len(service.explanations._explainers) == 0
    assert client.post("/v1/explain", content=data).status_code == 200


def test_explaining_can_be_switched_off(make_service) -> None:
    with TestClient(make_app(make_service(explain=False))) as client:
        assert client.post("/v1/explain", content=b"x").status_code == 404
        assert client.get("/v1/models").json()["explain"] is False
        assert "/v1/explain" not in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("size", "spec"),
    [
        ((300, 200), Preprocess(64, 56, "bilinear")),
        ((200, 333), Preprocess(64, 64, "bilinear")),
        ((300, 200), Preprocess(64, 48, "bilinear", mode="squash")),
        ((300, 200), Preprocess(32, 48, "bilinear")),
    ],
)
def test_the_box_is_where_the_crop_was_taken(size: tuple[int, int], spec: Preprocess) -> None:
    """Pixels that encode their position appear in the crop where the box says."""
    width, height = size
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    crop = preprocess(np.stack([across, down, 255 + 0 * down], axis=-1).round().astype(np.uint8), spec)
    left, top, right, bottom = crop_box(size, spec)
    for row in (0, spec.crop // 2, spec.crop - 1):
        for column in (0, spec.crop // 2, spec.crop - 1):
            x = left + (right - left) * (column + 0.5) / spec.crop
            y = top + (bottom - top) * (row + 0.5) / spec.crop
            inside = 0 <= x <= 1 and 0 <= y <= 1
            assert (crop[row, column, 2] > 0) == inside
            if inside:
                np.testing.assert_allclose(crop[row, column, :2], [255 * x, 255 * y], atol=4)
