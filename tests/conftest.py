"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch with one thread: networks as small as the tests' only wait for each other's threads."""
    torch = pytest.importorskip("torch")
    from wideresnet.training import loop

    monkeypatch.setattr(loop, "available_cpus", lambda: 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
