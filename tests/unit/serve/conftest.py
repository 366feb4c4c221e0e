"""A service over a fake engine, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from fakes import FakeEngine, tiny_bundle
from serving import NAME, open_model
from wideresnet.bundle import Bundle
from wideresnet.engines import Engine
from wideresnet.serve.app import make_app
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return tiny_bundle()


@pytest.fixture
def make_service(bundle: Bundle) -> Callable[..., Service]:
    """A ready service with settings ``values``, over ``engine`` or a FakeEngine."""

    def make(engine: Engine | None = None, **values: object) -> Service:
        service = Service(ServeSettings(**values))
        service.set_models({NAME: open_model(bundle, engine or FakeEngine())})
        return service

    return make


@pytest.fixture
def client(make_service: Callable[..., Service]) -> Iterator[TestClient]:
    with TestClient(make_app(make_service())) as client:
        yield client
