from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wideresnet.errors import ConfigError, EngineError
from wideresnet.logits import largest, softmax, top_k
from wideresnet.records import Labels

ABC = Labels(("a", "b", "c"))


def test_likeliest_first_with_label_and_probability():
    (row,) = top_k(np.array([[0.0, 2.0, 1.0]], np.float32), ABC, 2)
    assert [(score.index, score.label) for score in row] == [(1, "b"), (2, "c")]
    assert row[0].probability == pytest.approx(np.exp(2) / (1 + np.exp(1) + np.exp(2)))


def test_equal_logits_the_lower_index_first():
    for row in top_k(np.zeros((4, 3), np.float32), ABC, 3):
        assert [score.index for score in row] == [0, 1, 2]


def test_more_than_there_are_is_all():
    (row,) = top_k(np.zeros((1, 3), np.float32), ABC, 99)
    assert len(row) == 3
    assert sum(score.probability for score in row) == pytest.approx(1)


def test_scores_are_plain_numbers():
    """So that json takes them."""
    ((score,),) = top_k(np.zeros((1, 3), np.float32), ABC, 1)
    assert type(score.index) is int
    assert type(score.probability) is float


def test_no_images_no_answers():
    assert top_k(np.zeros((0, 3), np.float32), ABC, 5) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_an_error(bad):
    logits = np.zeros((3, 3), np.float32)
    logits[1, 1] = bad
    with pytest.raises(EngineError, match="not finite for 1 of 3"):
        top_k(logits, ABC, 1)


def test_labels_of_another_network_are_an_error():
    with pytest.raises(EngineError, match=r"\[2, 4\] do not fit 3 labels"):
        top_k(np.zeros((2, 4), np.float32), ABC, 1)


def test_k_below_one_is_refused():
    with pytest.raises(ConfigError):
        top_k(np.zeros((1, 3), np.float32), ABC, 0)


def test_softmax_of_huge_logits_is_finite():
    probabilities = softmax(np.array([[1e30, -1e30, 1e30], [-88, -89, -1000]], np.float32))
    np.testing.assert_allclose(probabilities[0], [0.5, 0, 0.5])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


@given(arrays(np.float32, (3, 40), elements=st.integers(-3, 3).map(float)), st.integers(1, 45))
def test_both_ways_equal_a_stable_sort(values, k):
    """Few and many, with ties everywhere."""
    expected = [sorted(range(40), key=lambda c: (-row[c], c))[:k] for row in values.tolist()]
    assert largest(values, k).tolist() == expected


@pytest.mark.parametrize("k", ["3", None, 2.5, True, 0, -1])
def test_a_number_of_classes_that_is_none_is_refused(k):
    with pytest.raises(ConfigError, match="k must be an integer from 1, got") as caught:
        top_k(np.zeros((1, 3), np.float32), ABC, k)
    assert (repr(k) in caught.value.message, caught.value.hint) == (True, "k=5")


def test_a_number_of_classes_may_be_numpys():
    (row,) = top_k(np.zeros((1, 3), np.float32), ABC, np.int64(2))
    assert len(row) == 2
