"""Images to answers: in order, a failure for each bad one, and never more than a few batches ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import FakeEngine
from wideresnet.classifier import Classifier
from wideresnet.datasets.labels import read_labels
from wideresnet.errors import ConfigError, ImageError
from wideresnet.output.predictions import Predictions
from wideresnet.records import Failure, InferenceSettings, Item, ModelCard, Prediction, Preprocess
from wideresnet.tasks.classify.classify import classify
from wideresnet.tasks.classify.sources import InputImages

LABELS = read_labels("cifar10")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def classifier(engine: FakeEngine) -> Classifier:
    card = ModelCard("fake", "wrn_10_1", 10, Preprocess(resize=32, crop=32), "fp32", "Apache-2.0")
    return Classifier(card, LABELS, engine)


def items(engine: FakeEngine, n: int, bad: tuple[int, ...] = ()) -> list[Item]:
    return [Item(f"{i:03}", b"no image" if i in bad else engine.image(i % 10)) for i in range(n)]


def test_answers_come_in_the_order_of_the_images(classifier: Classifier, engine: FakeEngine) -> None:
    answers = list(classify(classifier, items(engine, 23), InferenceSettings(batch_size=5), k=3))
    assert [a.path for a in answers] == [f"{i:03}" for i in range(23)]
    for index, answer in enumerate(answers):
        assert isinstance(answer, Prediction)
        best = answer.predictions[0]
        assert (best.index, best.label) == (index % 10, LABELS.names[index % 10])
        assert len(answer.predictions) == 3
    assert engine.calls == [5, 5, 5, 5, 3]


def test_one_bad_image_is_one_failure_and_the_rest_goes_on(classifier: Classifier, engine: FakeEngine) -> None:
    answers = list(classify(classifier, items(engine, 8, bad=(0, 5)), InferenceSettings(batch_size=4)))
    assert [a.path for a in answers] == [f"{i:03}" for i in range(8)]
    failures = [a for a in answers if isinstance(a, Failure)]
    assert [f.path for f in failures] == ["000", "005"]
    assert all(f.error for f in failures)


def test_a_batch_of_failures_never_reaches_the_engine(classifier: Classifier, engine: FakeEngine) -> None:
    answers = list(classify(classifier, items(engine, 4, bad=(0, 1, 2, 3)), InferenceSettings(batch_size=4)))
    assert all(isinstance(a, Failure) for a in answers)
    assert sum(engine.calls) == 0


def test_an_endless_stream_is_answered_as_it_comes(classifier: Classifier, engine: FakeEngine) -> None:
    pulled = 0

    def endless() -> Iterator[Item]:
        nonlocal pulled
        while True:
            pulled += 1
            yield Item(str(pulled), engine.image(pulled % 10))

    answers = classify(classifier, endless(), InferenceSettings(batch_size=4))
    assert [next(answers).path for _ in range(8)] == [str(i + 1) for i in range(8)]
    assert pulled <= 8 + 2 * 4
    answers.close()  # type: ignore[attr-defined]


def test_nothing_gives_nothing(classifier: Classifier) -> None:
    assert list(classify(classifier, [])) == []


def test_images_of_folders_and_files_are_named_by_their_paths(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("b.png", "inner/a.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert [item.path for item in InputImages([tmp_path])] == [f"{tmp_path}/b.png", f"{tmp_path}/inner/a.png"]
    with pytest.raises(ConfigError, match="no such file or directory"):
        list(InputImages([tmp_path / "absent"]))


def test_photographs_are_turned_upright_unless_told_otherwise(
    classifier: Classifier, engine: FakeEngine, tmp_path: Path
) -> None:
    # White above black; orientation 6 says: turn by 90 degrees to see it right.
    image = np.zeros((32, 32, 3), np.uint8)
    image[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    upright = classifier.preprocess(tmp_path / "turned.png", "transpose")
    asis = classifier.preprocess(tmp_path / "turned.png", "ignore")
    assert np.array_equal(asis, image)
    assert np.array_equal(upright, np.rot90(image, -1))


# The classifier itself


def test_the_classifier_takes_files_bytes_and_arrays(
    classifier: Classifier, engine: FakeEngine, tmp_path: Path
) -> None:
    path = tmp_path / "seven.png"
    Image.fromarray(engine.image(7)).save(path)
    answers = classifier.classify([path, str(path), path.read_bytes(), engine.image(7)], k=1)
    assert [a.predictions[0].index for a in answers] == [7] * 4
    assert [a.path for a in answers] == [str(path), str(path), "image 2", "image 3"]
    assert classifier.classify(path)[0].predictions[0].index == 7
    assert classifier.classify([]) == []


def test_the_classifier_raises_at_a_image_it_cannot_read(classifier: Classifier) -> None:
    with pytest.raises(ImageError):
        classifier.classify(b"no image")


def test_a_bad_image_is_a_failure_in_its_place_if_asked(classifier: Classifier, engine: FakeEngine) -> None:
    images = [engine.image(1), b"no image", engine.image(2)]
    first, failure, last = classifier.classify(images, on_error="return")
    assert isinstance(failure, Failure)
    assert (first.path, failure.path, last.path) == ("image 0", "image 1", "image 2")
    assert [answer.path for answer in classifier.iter_classify(images, on_error="return")] == [
        "image 0", "image 1", "image 2"
    ]  # fmt: skip
    for method in (classifier.classify, classifier.iter_classify):
        with pytest.raises(ImageError, match="image 1: not an image"):
            list(method(images))
        with pytest.raises(ConfigError, match="no way to treat errors called 'skip'"):
            method(images, on_error="skip")  # type: ignore[arg-type]


def test_iter_classify_holds_a_few_batches_and_ends_its_threads(classifier: Classifier, engine: FakeEngine) -> None:
    pulled = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal pulled
        while True:
            pulled += 1
            yield engine.image(pulled % 10).repeat(2, axis=0).repeat(2, axis=1)         # a crop takes no thread

    engine.info = replace(engine.info, threads=2)
    answers = classifier.iter_classify(endless(), k=1, batch_size=4)
    assert [next(answers).predictions[0].index for _ in range(8)] == [1, 2, 3, 4, 5, 6, 7, 8]  # type: ignore[union-attr]
    assert pulled <= 8 + 3 * 4
    assert decoding_threads()
    answers.close()  # type: ignore[attr-defined]
    assert not decoding_threads()


def decoding_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_bar_counts_the_answers_on_stderr(classifier: Classifier, engine: FakeEngine, capsys) -> None:
    assert len(classifier.classify([engine.image(1)] * 3, progress=True)) == 3
    out, err = capsys.readouterr()
    assert (out, "classifying" in err, "100%" in err) == ("", True, True)


# What notebooks show


def test_predictions_have_a_short_text_and_a_table_for_notebooks(classifier: Classifier, engine: FakeEngine) -> None:
    (answer,) = classifier.classify(engine.image(3))
    assert repr(answer) == "<Prediction image 0: cat 46.9 % · bird 17.2 % · deer 17.2 % · …>"
    answers = [replace(answer, path="<b>.png"), Failure("<i>", "bad", "mend it")]
    page = Predictions(answers, [engine.image(3)])._repr_html_()
    assert ("&lt;b&gt;.png" in page, "<b>" in page, "<i>" in page) == (True, False, False)
    assert page.count("<img") == 1
    assert page.count("<tr>") == 5
    assert "<td>46.9 %</td>" in page
    assert page.endswith("&lt;i&gt;: bad<br>mend it<br>")


def test_a_notebook_shows_the_first_images_of_many(classifier: Classifier, engine: FakeEngine) -> None:
    answers = classifier.classify([engine.image(1)] * 50)
    assert (len(answers), len(answers.crops), answers.crops[0].shape) == (50, Predictions.SHOWN, (32, 32, 3))
    page = answers._repr_html_()
    assert page.count("<img") == Predictions.SHOWN
    assert "… 30 more" in page


def test_a_sorted_list_shows_every_answer_beside_its_own_crop(classifier: Classifier, engine: FakeEngine) -> None:
    answers = classifier.classify([engine.image(code) for code in (1, 2, 3)])
    crops = list(answers.crops)
    answers.reverse()
    del answers[0]
    answers.append(replace(answers[0]))            # of another image: it has no crop
    assert [crop is other for crop, other in zip(answers.crops, (crops[1], crops[0], None), strict=True)] == [True] * 3


def test_predictions_become_a_table(classifier: Classifier, engine: FakeEngine) -> None:
    answers = classifier.classify([engine.image(1), b"no image"], k=2, on_error="return")
    rows = answers.to_table().to_pylist()
    assert [(row["path"], row["rank"], row["label"]) for row in rows] == [
        ("image 0", 1, "automobile"), ("image 0", 2, "airplane"), ("image 1", None, None)
    ]  # fmt: skip
    assert rows[2]["error"].startswith("not an image")
