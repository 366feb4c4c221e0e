"""Names and values of normalisations."""

from __future__ import annotations

from typing import Any

import pytest

from wideresnet.datasets.statistics import NORMALISATIONS, check_normalisation, parse_normalisation
from wideresnet.errors import ConfigError
from wideresnet.records import Preprocess


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


@pytest.mark.parametrize("text", ["125.3,123.0,113.9/63.0,62.1,66.7", "-0.5,0.5,0.5/1,1,1", "0.5,0.5,0.5/0,1,1"])
def test_values_that_no_pixels_have_are_refused(text: str) -> None:
    """Statistics of values from 0 to 255 would give another answer without a word."""
    mean, std = parse_normalisation(text)
    with pytest.raises(ConfigError, match="a mean is from 0 to 1 and a standard deviation above 0, at most 1") as error:
        Preprocess(32, 32, mean=mean, std=std)
    assert "divide those of values from 0 to 255 by 255" in error.value.hint


@pytest.mark.parametrize("values", [(), ((1, 2, 3),), ((0, 0, 0), 1), (("a", 0, 0), (1, 1, 1)), 3])
def test_other_values_are_errors(values: Any) -> None:
    with pytest.raises(ConfigError, match="no normalisation called"):
        check_normalisation(values)
