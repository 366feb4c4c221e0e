"""Models of a hub by name, against a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.numpy import save

from fakes import TINY, tiny_tensors
from wideresnet.architectures import get_architecture
from wideresnet.errors import ConfigError, DownloadError, WeightsError
from wideresnet.tasks.load.describe import describe
from wideresnet.tasks.load.hub import HubRepository, fetch_repository, parse_repository, repository_of
from wideresnet.tasks.load.load import ModelChoice, load_bundle
from wideresnet.tasks.load.resolve import resolve_model

COMMIT = "c" * 40
NAMES = list("abcdefghij")
TIMM = {
    "input_size": [3, 40, 40], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic",
    "crop_pct": 0.8, "crop_mode": "center", "num_classes": 10, "first_conv": "conv1",
}  # fmt: skip


@dataclass
class Hub:
    """The files of the repository me/wrn, and every request."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path, _, file = self.path.partition("/resolve/")
            hub.requests.append(f"{self.command} {file}")
            data = hub.files.get(file.removeprefix("main/"))
            code, error = 200, ""
            if path != "/me/wrn":
                code, error = (403, "GatedRepo") if path.startswith("/gated") else (404, "RepoNotFound")
            elif not file.startswith("main/") or data is None:
                code, error = 404, "EntryNotFound" if file.startswith("main/") else "RevisionNotFound"
            content = data or b""
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            if error:
                self.send_header("X-Error-Code", error)
            else:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(state))
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WRN_OFFLINE", raising=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def config(**changes: object) -> bytes:
    return json.dumps({"num_classes": 10, "label_names": NAMES, "pretrained_cfg": TIMM, **changes}).encode()


def weights() -> bytes:
    return save(tiny_tensors(TINY["wrn_10_1"]))  # type: ignore[arg-type]


def test_a_repository_opens_as_its_config_says(hub: Hub) -> None:
    hub.files |= {"config.json": config(), "model.safetensors": weights()}
    bundle = load_bundle(ModelChoice("hf-hub:me/wrn"))
    spec = bundle.card.preprocess
    assert (spec.resize, spec.crop, spec.interpolation, spec.mean, spec.std) == (
        50, 40, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    )  # fmt: skip
    assert bundle.labels.names == tuple(NAMES)
    assert (bundle.card.name, bundle.card.weights_source) == ("wrn", f"hf-hub:me/wrn@{COMMIT}")
    assert not [text for text in bundle.card.assumed if "preprocessing" in text or "class names" in text]
    assert describe("hf_hub:me/wrn@main").name == "wrn"


def test_files_are_fetched_once_and_then_open_without_a_connection(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files |= {"config.json": config(), "model.safetensors": weights(), "README.md": b"not needed"}
    first = fetch_repository(HubRepository("me/wrn"))
    gets = [request for request in hub.requests if request.startswith("GET main/")]
    assert gets == ["GET main/config.json", "GET main/model.safetensors"]
    hub.requests.clear()
    assert fetch_repository(HubRepository("me/wrn"), offline=True) == first
    use_endpoint(monkeypatch, "http://127.0.0.1:9")
    assert fetch_repository(HubRepository("me/wrn")) == first
    assert hub.requests == []
    assert repository_of(first) == ("me/wrn", COMMIT)


def test_pickled_weights_are_taken_where_there_is_nothing_better(hub: Hub) -> None:
    hub.files |= {"config.json": config(), "pytorch_model.bin": b"weights"}
    for _ in range(2):
        assert fetch_repository(HubRepository("me/wrn")).read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("none/x", "there is no repository hf-hub:none/x, or it is private", "hf auth login"),
        ("gated/x", "hf-hub:gated/x is only for users who accepted its terms", "accept them on its page"),
        ("me/wrn@v2", "hf-hub:me/wrn has no revision 'v2'", "a branch, a tag or a commit"),
        ("me/wrn", r"hf-hub:me/wrn does not have config\.json and model\.safetensors or", "timm's layout"),
    ],
)
def test_what_the_hub_does_not_have_is_said(hub: Hub, name: str, message: str, hint: str) -> None:
    with pytest.raises(DownloadError, match=message) as caught:
        load_bundle(ModelChoice(f"hf-hub:{name}"))
    assert hint in caught.value.hint


def test_without_a_connection_what_is_missing_is_said_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for offline in (lambda: None, lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)):
        offline()
        with pytest.raises(DownloadError, match="not on this machine, and offline mode is on") as caught:
            fetch_repository(HubRepository("me/wrn"), offline=not constants.HF_HUB_OFFLINE)
        assert "run 'hf download me/wrn'" in caught.value.hint
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use_endpoint(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"not on this machine, and the hub gives no answer: .*refused"):
        fetch_repository(HubRepository("me/wrn"))
    assert hub.requests == []


def test_another_network_is_refused_before_its_weights_are_fetched(hub: Hub) -> None:
    hub.files |= {"config.json": config(architecture="resnet50"), "model.safetensors": b"97 MB"}
    with pytest.raises(ConfigError, match="hf-hub:me/wrn is resnet50, which is not among the networks here"):
        fetch_repository(HubRepository("me/wrn"))
    assert "GET main/model.safetensors" not in hub.requests


def test_names_of_repositories() -> None:
    assert parse_repository("hf-hub:timm/wide_resnet50_2.racm_in1k") == HubRepository("timm/wide_resnet50_2.racm_in1k")
    assert parse_repository("hf_hub:a/b@refs/pr/1") == HubRepository("a/b", "refs/pr/1")
    assert parse_repository("wide_resnet50_2") is None
    assert resolve_model("hf-hub:a/b") == HubRepository("a/b")
    for name in ("hf-hub:wrn", "hf-hub:a/b/c", "hf-hub:", "hf-hub:a/b@", "hf-hub:a b/c"):
        with pytest.raises(ConfigError, match="not the name of a repository on a hub"):
            parse_repository(name)


def test_the_path_of_a_repository_is_told_from_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model at someone/wrn\.mine") as caught:
        resolve_model("someone/wrn.mine")
    assert caught.value.hint.endswith("or for a repository on the hub hf-hub:someone/wrn.mine")
    with pytest.raises(ConfigError) as caught:
        resolve_model(str(tmp_path / "absent"))
    assert "hf-hub" not in caught.value.hint


# A clone, and the facts in its config.json


def clone(folder: Path, document: bytes) -> str:
    folder.mkdir()
    (folder / "config.json").write_bytes(document)
    (folder / "model.safetensors").write_bytes(weights())
    return str(folder)


def test_a_clone_has_the_name_of_its_folder(tmp_path: Path) -> None:
    card = load_bundle(ModelChoice(clone(tmp_path / "wrn_10_1.mine", config()))).card
    assert (card.name, card.weights_source) == ("wrn_10_1.mine", "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet50"}, "is resnet50, which is not among the networks here"),
        ({"architecture": "wide_resnet50_2"}, r"states wide_resnet50_2, the weights beside it are wrn_10_1"),
        ({"num_classes": 1000}, "names 1000 classes, the weights beside it have 10"),
        ({"label_names": ["a"]}, "names 1 classes, the weights beside it have 10"),
        ({"global_pool": "max"}, "global_pool: Input should be 'avg'"),
        ({"model_args": {"act_layer": "silu"}}, "model_args: .* at most 0 items"),
        ({"pretrained_cfg": TIMM | {"interpolation": "random"}}, r"pretrained_cfg\.interpolation: Input should be"),
        ({"pretrained_cfg": TIMM | {"crop_mode": "border"}}, r"pretrained_cfg\.crop_mode: Input should be"),
        ({"pretrained_cfg": TIMM | {"input_size": [3, 40, 41]}}, r"input_size: .*the networks here take squares"),
        ({"pretrained_cfg": TIMM | {"input_size": [1, 40, 40]}}, r"input_size\.0: Input should be 3"),
        ({"pretrained_cfg": TIMM | {"mean": [123.7, 116.3, 103.5]}}, "a mean is from 0 to 1 .* got .123.7, 116.3"),
        ({"pretrained_cfg": TIMM | {"crop_pct": 1e-320}}, r"crop_pct: Input should be greater than or equal to 0\.01"),
        ({"id2label": {str(number): f"other {number}" for number in range(10)}}, "differently in label_names and id2l"),
        ({"hidden_act": "gelu"}, "hidden_act: Input should be 'relu'"),
        ({"label_names": {str(2 * number): NAMES[number] for number in range(10)}}, "other indices than 0 to 9"),
    ],
)
def test_facts_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises((ConfigError, WeightsError), match=message):
        load_bundle(ModelChoice(clone(tmp_path / "clone", config(**changes))))


@pytest.mark.parametrize("key", ["label_names", "labels", "id2label"])
def test_class_names_with_indices_are_in_the_order_of_the_outputs(tmp_path: Path, key: str) -> None:
    """JSON with sorted keys has "0", "1", "10", "2"."""
    names = [f"class {number}" for number in range(12)]
    document = {"num_classes": 12, key: {str(number): name for number, name in enumerate(names)}}
    folder = clone(tmp_path / "clone", json.dumps(document, sort_keys=True).encode())
    (Path(folder) / "model.safetensors").write_bytes(save(tiny_tensors(get_architecture("wrn_10_1", 12))))  # type: ignore[arg-type]
    assert load_bundle(ModelChoice(folder)).labels.names == tuple(names)


def test_a_mapping_to_indices_is_read_by_them(tmp_path: Path) -> None:
    for index, kind in enumerate((int, str)):
        names = {f"class {number}": kind(number) for number in reversed(range(10))}
        bundle = load_bundle(ModelChoice(clone(tmp_path / str(index), config(label_names=names))))
        assert bundle.labels.names == tuple(f"class {number}" for number in range(10))


def test_of_two_lists_of_class_names_the_one_that_is_used_is_said(tmp_path: Path) -> None:
    folder = Path(clone(tmp_path / "clone", config()))
    (folder / "model.safetensors").unlink()
    state = {name: torch.from_numpy(np.array(array)) for name, array in tiny_tensors(TINY["wrn_10_1"]).items()}
    for names, said in ((NAMES, False), (NAMES[::-1], True), (set(NAMES), True)):
        torch.save({"state_dict": state, "class_names": names}, folder / "pytorch_model.bin")
        bundle = load_bundle(ModelChoice(str(folder)))
        assert bundle.labels.names == tuple(NAMES)
        assert ("class names: those of config.json, not those in the file" in bundle.card.assumed) is said


def test_null_states_nothing(tmp_path: Path) -> None:
    """Transformers writes it for what its wrapper of timm leaves out."""
    nulls = dict.fromkeys(("architecture", "model_args", "global_pool", "id2label", "hidden_act"))
    changed = config(**nulls, pretrained_cfg=TIMM | {"crop_pct": None, "crop_mode": None})
    bundle = load_bundle(ModelChoice(clone(tmp_path / "clone", changed)))
    assert (bundle.card.preprocess.resize, bundle.card.preprocess.mode) == (int(40 / 0.875), "shortest")
    assert bundle.labels.names == tuple(NAMES)


def test_an_old_document_of_timm_is_read(tmp_path: Path) -> None:
    """It is the ``pretrained_cfg`` itself; where it names no filter, timm's is the bicubic one."""
    old = {key: value for key, value in TIMM.items() if key != "interpolation"} | {"architecture": "", "labels": NAMES}
    bundle = load_bundle(ModelChoice(clone(tmp_path / "clone", json.dumps(old).encode())))
    spec = bundle.card.preprocess
    assert (spec.resize, spec.crop, spec.interpolation, spec.mean) == (50, 40, "bicubic", (0.1, 0.2, 0.3))
    assert bundle.labels.names == tuple(NAMES)
