"""Names and values of normalisations."""

from __future__ import annotations

from typing import Any

import pytest

from wideresnet.datasets.statistics import NORMALISATIONS, check_normalisation, parse_normalisation
from wideresnet.errors import ConfigError


def test_a_name_and_the_values_themselves_are_read() -> None:
    for name, values in NORMALISATIONS.items():
        assert parse_normalisation(name) == values
    assert parse_normalisation("0.1,0.2,0.3/0.4,0.5,0.6") == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert check_normalisation([[0, 0, 0], [1, 1, 1]]) == NORMALISATIONS["unit"]
    assert NORMALISATIONS["cifar100"] != NORMALISATIONS["cifar10"]


@pytest.mark.parametrize("text", ["", "cifar", "1,2/3,4", "0,0,0", "a,b,c/1,1,1", "0,0,0/1,1,1/1,1,1"])
def test_other_texts_are_errors(text: str) -> None:
    with pytest.raises(ConfigError, match="no normalisation called"):
        parse_normalisation(text)


@pytest.mark.parametrize("values", [(), ((1, 2, 3),), ((0, 0, 0), 1), (("a", 0, 0), (1, 1, 1)), 3])
def test_other_values_are_errors(values: Any) -> None:
    with pytest.raises(ConfigError, match="no normalisation called"):
        check_normalisation(values)
