"""The service on Ray Serve: everything before Ray is called. Ray itself is not imported here."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from fakes import FakeEngine, tiny_bundle
from serving import NAME, open_model
from wideresnet.classifier import Classifier
from wideresnet.cluster.connect import LOCAL
from wideresnet.cluster.ray_serve import NAME as APPLICATION
from wideresnet.cluster.ray_serve import (
    ReplicaHeaders,
    Replicas,
    extract_reason,
    parse_replicas,
    replica_settings,
    resolve_port,
    serve_on_ray,
    wait_until_running,
)
from wideresnet.errors import ConfigError, EngineError, MissingExtra
from wideresnet.machine import available_cpus
from wideresnet.serve.app import make_app
from wideresnet.serve.models import check_model
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings

ELSEWHERE = "10.0.0.1:6379"


@pytest.mark.parametrize(("text", "minimum", "maximum"), [("1", 1, 1), ("3", 3, 3), ("1:4", 1, 4), ("2:2", 2, 2)])
def test_replicas_are_a_number_or_a_range(text: str, minimum: int, maximum: int) -> None:
    assert parse_replicas(ELSEWHERE, text, 2) == Replicas(ELSEWHERE, minimum, maximum, 2)


@pytest.mark.parametrize("text", ["", "0", "0:2", "3:2", "1:", ":2", "-1", "1:2:3", "two", "1.5", "٣"])
def test_other_replicas_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="N or MIN:MAX") as caught:
        parse_replicas(ELSEWHERE, text, 1)
    assert repr(text) in caught.value.message


def test_a_cluster_of_this_machine_has_no_more_cpus_than_it() -> None:
    most = available_cpus()
    assert parse_replicas(LOCAL, f"1:{most}", 1).maximum == most
    with pytest.raises(ConfigError, match=f"{most + 1} replicas of 1 CPUs need more than this machine's {most}"):
        parse_replicas(LOCAL, f"1:{most + 1}", 1)
    with pytest.raises(ConfigError, match=f"more than this machine's {most}"):
        parse_replicas(LOCAL, "2", most)
    assert parse_replicas(ELSEWHERE, "2", most).cpus == most


def test_what_ray_says_of_waiting_replicas_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def status(name: str, message: str) -> SimpleNamespace:
        return SimpleNamespace(status=name, message="", deployments={"d": SimpleNamespace(message=message)})

    waiting = status("DEPLOYING", "1 replicas have taken more than 30s to be scheduled")
    answers = iter([status("DEPLOYING", ""), waiting, waiting, status("RUNNING", "")])
    serve = SimpleNamespace(status=lambda: SimpleNamespace(applications={APPLICATION: next(answers)}))
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    lines: list[str] = []
    assert wait_until_running(threading.Event(), lines.append)
    assert lines == ["1 replicas have taken more than 30s to be scheduled"]


def test_defaults_of_a_replica_follow_its_cpus() -> None:
    own = replica_settings(ServeSettings(), 8)
    assert (own.threads, own.capacity) == (8, 128)
    assert replica_settings(ServeSettings(), 1).capacity == 64
    explicit = replica_settings(ServeSettings(threads=3, queue=5), 8)
    assert (explicit.threads, explicit.capacity) == (3, 5)


def test_models_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "lr=0.1").mkdir()                  # a path that exists as given has no alias
    own = replica_settings(ServeSettings(models=("mine", "a=mine", "b=wrn_16_4.cifar10", "lr=0.1", "b=lr=0.1")), 1)
    assert own.models == (
        str(tmp_path / "mine"), f"a={tmp_path / 'mine'}", "b=wrn_16_4.cifar10",
        f"{tmp_path}/lr=0.1", f"b={tmp_path}/lr=0.1",
    )  # fmt: skip


class BrokenEngine(FakeEngine):
    """An engine whose logits are NaN."""

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return super().__call__(batch) * np.float32(np.nan)


def test_the_health_check_infers_an_image() -> None:
    bundle = tiny_bundle()
    engine = FakeEngine()
    check_model(Classifier(bundle.card, bundle.labels, engine))
    assert engine.calls == [1]
    with pytest.raises(EngineError):
        check_model(Classifier(bundle.card, bundle.labels, BrokenEngine()))
    larger = replace(bundle.card, preprocess=replace(bundle.card.preprocess, crop=48))
    with pytest.raises(EngineError, match="48"):       # an engine that cannot take what the model needs
        check_model(Classifier(larger, bundle.labels, FakeEngine()))


def test_responses_name_their_replica() -> None:
    service = Service(ServeSettings())
    service.set_models({NAME: open_model(tiny_bundle(), FakeEngine())})
    with TestClient(ReplicaHeaders(make_app(service), "abc")) as client:
        for path in ("/healthz", "/nothing"):
            answer = client.get(path)
            assert answer.headers["X-Replica"] == "abc"
            assert "X-Request-ID" not in answer.headers       # the proxy's
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_reason_is_extracted_from_rays_messages() -> None:
    message = """The deployment failed to start 3 times in a row. Error:
    ray::ServeReplica:wideresnet.__init__()
      File "models.py", line 1, in open_models
    wideresnet.errors.BundleError: card.json: cannot be read: no such file
    The above exception was the direct cause"""
    assert extract_reason(["", message]) == "card.json: cannot be read: no such file"
    assert extract_reason(["first", "other\nlast\n"]) == "last"
    assert extract_reason([""]) == "no reason was given"


def test_the_port_is_known_before_ray_is_asked() -> None:
    local = parse_replicas(LOCAL, "1", 1)
    assert resolve_port(ServeSettings(port=0), local).port > 0
    with pytest.raises(ConfigError, match="same on all nodes"):
        resolve_port(ServeSettings(port=0), parse_replicas(ELSEWHERE, "1", 1))
    with pytest.raises(ConfigError, match="cannot listen"):
        resolve_port(ServeSettings(host="192.0.2.1"), local)      # an address of documentation: nobody's


def test_without_ray_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match="wrn serve --ray needs ray") as caught:
        serve_on_ray(ServeSettings(), parse_replicas(LOCAL, "1", 1), lambda line: None)
    assert caught.value.hint == "pip install 'wideresnet[ray]'"


