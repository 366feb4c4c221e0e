"""What may lie beside the repository (oracles, images, data). Tests that use it skip without it."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def needs_shared(*parts: str) -> pytest.MarkDecorator:
    """Skip a test when ``../shared/<parts>`` is not there."""
    path = SHARED.joinpath(*parts)
    return pytest.mark.skipif(
        not path.exists(), reason=f"needs {Path('../shared', *parts)} beside the repository"
    )
