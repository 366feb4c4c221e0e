"""What others answered is scored by index and by name of the image: nothing shifts, and what is missing is listed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import FakeEngine, tiny_bundle
from wideresnet.bundle.derive import with_preprocess
from wideresnet.datasets.labelled import LabelledData
from wideresnet.errors import DataError
from wideresnet.records import IMAGENET_MEAN, Failure, Item, Labels, Preprocess, Scored
from wideresnet.tasks.evaluate.evaluate import score_logits
from wideresnet.tasks.zoo.outputs import score_outputs, score_results, source_of_results, zoo_transform
from wideresnet.tasks.zoo.results import Results

LABELS = Labels(("cat", "dog", "crane", "crane"), ("n1", "n2", "n3", "n4"))
DATA = LabelledData("val", [Item(f"val/{name}.JPEG", b"", label) for name, label in (("a", 2), ("b", 3), ("c", 0))], 4)


def results(**answers: list[int]) -> Results:
    """By names like n1_a, for n1/a.npz."""
    shares = [0.6, 0.3, 0.05, 0.05]
    found = {
        f"npz/{name.replace('_', '/')}.npz": tuple(zip(classes, shares, strict=False))
        for name, classes in answers.items()
    }
    return Results(Path("result.txt"), found, 0)


def failures(answers: list[Scored | Failure]) -> list[tuple[str, str]]:
    return [(each.path, each.error) for each in answers if isinstance(each, Failure)]


# result.txt


def test_answers_are_scored_by_index_wherever_they_stand() -> None:
    """Both cranes have one name; the file's order is another than the data's."""
    found = list(score_results(results(n1_c=[1, 2], n4_b=[2, 3], n3_a=[2, 3]), LABELS, DATA))
    assert found == [
        Scored("val/a.JPEG", 2, 1, 0, (2, 3), (0.6, 0.3)),
        Scored("val/b.JPEG", 3, 2, 0, (2, 3), (0.6, 0.3)),
        Scored("val/c.JPEG", 0, 0, 0, (1, 2), (0.6, 0.3)),
    ]


def test_without_data_the_folder_says_the_class() -> None:
    found = list(score_results(results(n4_b=[3], n2_x=[3], spare_y=[3]), LABELS))
    ranks = [(each.path, each.rank) for each in found if isinstance(each, Scored)]
    assert ranks == [("npz/n4/b.npz", 1), ("npz/n2/x.npz", 0)]
    assert failures(found) == [("npz/spare/y.npz", "its folder names no class")]


def test_without_data_a_shared_name_is_no_class() -> None:
    with pytest.raises(DataError, match=r"no folder in result\.txt names one of the 4 classes") as caught:
        list(score_results(results(crane_b=[3], spare_y=[3]), LABELS))
    assert "labelled images" in caught.value.hint


def test_what_has_no_partner_is_listed_on_both_sides() -> None:
    found = list(score_results(results(n3_a=[2], n1_z=[0]), LABELS, DATA))
    assert failures(found) == [
        ("val/b.JPEG", "no answer in result.txt"),
        ("val/c.JPEG", "no answer in result.txt"),
        ("npz/n1/z.npz", "no image of val has its name"),
    ]


def test_parts_of_the_data_add_up() -> None:
    everything = results(n3_a=[2], n4_b=[3], n1_z=[0])
    whole = list(score_results(everything, LABELS, DATA))
    parts = [each for shard in ("1/2", "2/2") for each in score_results(everything, LABELS, DATA.take_part(shard))]
    assert sorted(parts, key=lambda each: each.path) == sorted(whole, key=lambda each: each.path)


def test_a_folder_that_contradicts_the_data_is_a_failure() -> None:
    found = list(score_results(results(n1_a=[2], n4_b=[3], n1_c=[0]), LABELS, DATA))
    assert failures(found) == [("val/a.JPEG", "class 2 in the data, and called npz/n1/a.npz in result.txt")]


def test_results_of_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="no image of val has one of the 1 answers"):
        list(score_results(results(n1_x=[0]), LABELS, DATA))


def test_results_of_another_network_are_refused() -> None:
    with pytest.raises(DataError, match="answers class 4, there are 4"):
        list(score_results(results(n1_c=[0, 4]), LABELS, DATA))


def test_logits_give_no_confidence() -> None:
    logits = replace(results(n3_a=[2]), answers={"a": ((2, 11.5), (1, 3.0))})
    (scored, *_) = score_results(logits, LABELS, DATA)
    assert scored == Scored("val/a.JPEG", 2, 1, 0, (2, 1), ())


# output_0


LOGITS = np.array([[0, 1, 5, 4], [3, 2, 1, 0], [2, 1, 0, -1]], np.float32)


def write(folder: Path, dtype: type, values: NDArray[np.floating] = LOGITS) -> Path:
    """An .npz file each for a, b and c, in folders of its own."""
    for name, row in zip("abc", values, strict=True):
        (folder / name).mkdir(parents=True)
        np.savez(folder / name / f"{name}.npz", output_0=row.astype(dtype).reshape((1, -1) if name == "b" else (-1,)))
    return folder


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_outputs_are_scored_as_logits_are(tmp_path: Path, dtype: type) -> None:
    assert list(score_outputs(write(tmp_path / "out", dtype), DATA)) == score_logits(DATA.items, LOGITS, DATA.present)


def test_a_missing_output_shifts_no_other(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", np.float32)
    (folder / "a" / "a.npz").rename(folder / "z.npz")
    found = list(score_outputs(folder, DATA))
    assert found[1:3] == score_logits(DATA.items, LOGITS, DATA.present)[1:]
    assert failures(found) == [
        ("val/a.JPEG", f"no answer in {folder}"),
        ("z.npz", "no image of val has its name"),
    ]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_probabilities_stay_what_they_are(tmp_path: Path, dtype: type) -> None:
    shares = np.array([[0, 0.125, 0.5, 0.375], [1, 0, 0, 0], [0.5, 0.25, 0.125, 0.125]])
    found = list(score_outputs(write(tmp_path / "out", dtype, shares), DATA))
    assert [(each.rank, each.probabilities) for each in found if isinstance(each, Scored)] == [
        (1, (0.5, 0.375, 0.125, 0.0)),
        (4, (1.0, 0.0, 0.0, 0.0)),
        (1, (0.5, 0.25, 0.125, 0.125)),
    ]
    a, b, c = ((each.nll, each.brier) for each in found if isinstance(each, Scored))
    assert a == pytest.approx((math.log(2), 0.125**2 + 0.5**2 + 0.375**2))
    assert b == pytest.approx((-math.log(np.finfo(np.float32).tiny), 1 + 1)), "a probability of 0 has no logarithm"
    assert c == pytest.approx((math.log(2), 0.5**2 + 0.25**2 + 2 * 0.125**2))


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.array([1.0, np.nan, 0, 0]), "not finite"),
        (np.array([1.0, 1e300, 0, 0]), "not finite"),
        (np.zeros(5), r"float64 [5], expected floats [4]"),
        (np.zeros((2, 4)), r"float64 [2, 4]"),
        (np.zeros(4, np.int64), r"int64 [4]"),
        (np.array([{}], object), "pickled objects"),
    ],
)
def test_what_is_no_output_is_a_failure_of_its_image(
    tmp_path: Path, array: NDArray[np.generic], error: str
) -> None:
    folder = write(tmp_path / "out", np.float32)
    np.savez(folder / "a" / "a.npz", output_0=array)
    first, *others = score_outputs(folder, DATA)
    assert isinstance(first, Failure)
    assert error in first.error
    assert first.path == "val/a.JPEG"
    assert [type(each) for each in others] == [Scored, Scored]


def test_numbered_outputs_are_refused_rather_than_counted_off(tmp_path: Path) -> None:
    for number in range(3):
        np.savez(tmp_path / f"output_{number}.npz", output_0=LOGITS[number])
    with pytest.raises(DataError, match=r"those are called output_0\.npz, the images val/a\.JPEG") as caught:
        list(score_outputs(tmp_path, DATA))
    assert "guess" in caught.value.hint
    with pytest.raises(DataError, match=r"holds no \.npz files"):
        list(score_outputs(tmp_path / "absent", DATA))


# The transform


def test_the_zoos_transform_changes_what_is_shown_and_nothing_else() -> None:
    bundle = with_preprocess(tiny_bundle(), Preprocess(resize=232, crop=224, interpolation="bicubic"))
    shown = zoo_transform(bundle)
    assert shown.card.preprocess == Preprocess(256, 224, "opencv-bilinear", "squash", IMAGENET_MEAN)
    assert shown.graph is bundle.graph
    assert (shown.card.published, shown.card.measured) == ((), ())


def test_a_network_of_another_resolution_sees_the_same_share() -> None:
    spec = replace(tiny_bundle().card.preprocess, mean=(0.1, 0.2, 0.3))
    shown = zoo_transform(with_preprocess(tiny_bundle(), spec)).card.preprocess
    assert (shown.resize, shown.crop, shown.mode, shown.mean) == (37, FakeEngine().side, "squash", (0.1, 0.2, 0.3))


def test_top_5_is_known_where_every_class_has_its_rank(tmp_path: Path) -> None:
    """Of three classes each is among the first five, as 'wrn evaluate' says of such a network."""
    lines = (f"n/a.png: Relay top-{rank} id: {index}, prob: 0.3, class name: x" for rank, index in enumerate((1, 2, 0)))
    (tmp_path / "r.txt").write_text("\n".join(lines) + "\n")
    for names, most in ((("n", "b", "c"), 5), (("n", "b", "c", "d"), 3)):
        source, _ = source_of_results(tmp_path / "r.txt", Labels(names), "", None)
        assert source.blank.max_k == most
