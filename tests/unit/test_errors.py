"""Every error says what to do, wherever it was raised."""

from __future__ import annotations

import copy
import pickle

import pytest

from wideresnet import errors
from wideresnet.errors import MissingExtra, WrnError, did_you_mean, needs_extra

FAMILY = [WrnError, *(kind for kind in WrnError.__subclasses__() if kind.__module__ == errors.__name__)]


@pytest.mark.parametrize("kind", FAMILY)
def test_message_and_hint_survive_a_process_border(kind):
    error = pickle.loads(pickle.dumps(kind("it broke", hint="mend it")))
    assert type(error) is kind
    assert (str(error), error.message, error.hint) == ("it broke", "it broke", "mend it")
    assert copy.copy(error).hint == "mend it"


def test_the_family_is_the_one_in_the_docstring():
    tree = [line.split()[1] for line in errors.__doc__.splitlines() if "──" in line]
    assert tree == [kind.__name__ for kind in FAMILY[1:]]


def test_a_missing_extra_is_one_sentence_with_the_install_line():
    with pytest.raises(MissingExtra) as caught, needs_extra("the engine flux", "flux"):
        import package_that_nobody_has  # noqa: F401
    assert str(caught.value) == "the engine flux needs package_that_nobody_has, which is not installed"
    assert caught.value.hint == "pip install 'wideresnet[flux]'"
    assert isinstance(caught.value.__cause__, ImportError)


def test_an_import_error_without_a_name_still_reads_as_a_sentence():
    with pytest.raises(MissingExtra, match=r"^training needs a package, which"), needs_extra("training", "train"):
        raise ImportError


def test_other_errors_pass_through_an_extra():
    with pytest.raises(ZeroDivisionError), needs_extra("training", "train"):
        _ = 1 / 0


def test_the_closest_name_is_offered_and_a_far_one_is_not():
    assert did_you_mean("openvimo", ["openvino", "pytorch"]) == "did you mean 'openvino'?"
    assert did_you_mean("zzz", ["openvino", "pytorch"]) == ""
    assert did_you_mean("x", iter(())) == ""
