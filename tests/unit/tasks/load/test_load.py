"""From whatever names a model to a bundle: folders, files, catalogue names, and clear words for the rest."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from fakes import tiny_bundle, tiny_tensors
from wideresnet.architectures import get_architecture, wrn
from wideresnet.bundle import Bundle, read_bundle, write_bundle
from wideresnet.datasets.labels import format_labels, read_labels
from wideresnet.errors import BundleError, ConfigError, DownloadError, MissingExtra, WeightsError
from wideresnet.records import FileFacts, InferenceSettings, Labels, ModelCard, Preprocess
from wideresnet.tasks.classify.resumable import run_identity
from wideresnet.tasks.load.load import AssumptionWarning, ModelChoice, load, load_bundle, open_classifier
from wideresnet.tasks.load.resolve import DEFAULT_MODEL, EMBEDDED, WeightsFile, embedded_folder, resolve_model
from wideresnet.tasks.load.weights_file import CARD_KEY, LABELS_KEY
from wideresnet.weights.catalogue import CATALOGUE
from wideresnet.weights.read import save_tensors

TINY = get_architecture("wrn_10_1")
REFUSED_NAMES = (
    "class names: numbers, not those in the file, which contradict each other, have no order, are in an array or are"
    " not {}"
)


def images(n: int = 3, side: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def logits(bundle: Bundle) -> NDArray[np.float32]:
    return open_classifier(bundle).logits(images())


def save_pth(path: Path, tensors: dict[str, NDArray[np.generic]]) -> Path:
    torch.save({"state_dict": {f"module.{k}": torch.from_numpy(np.array(v)) for k, v in tensors.items()}}, path)
    return path


# Bundles


def test_a_bundle_folder_is_opened_as_it_is(tmp_path: Path) -> None:
    card = write_bundle(tmp_path / "tiny", tiny_bundle())
    classifier = load(tmp_path / "tiny")
    assert classifier.card == card
    assert classifier.engine.info.runtime == "openvino"
    assert np.array_equal(classifier.logits(images()), logits(tiny_bundle()))


def test_a_changed_bundle_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny", tiny_bundle())
    (tmp_path / "tiny" / "labels.txt").write_text("cat\n" * 10)
    with pytest.raises(BundleError):
        load(tmp_path / "tiny")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "pytorch"])
def test_the_engine_asked_for_is_the_one_that_runs(tmp_path: Path, engine: str) -> None:
    write_bundle(tmp_path / "tiny", tiny_bundle())
    try:
        classifier = load(tmp_path / "tiny", engine=engine, threads=1)
    except MissingExtra as error:
        pytest.skip(error.message)
    assert (classifier.engine.info.runtime, classifier.engine.info.threads) == (engine, 1)


def test_another_normalisation_than_the_models_own_is_noted(tmp_path: Path) -> None:
    write_bundle(tmp_path / "made", tiny_bundle())
    own = tiny_bundle().card.preprocess
    for values, noted in (((own.mean, own.std), False), (((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), True)):
        card = load_bundle(ModelChoice(str(tmp_path / "made"), facts=FileFacts(normalise=values))).card
        assert (card.preprocess.mean, card.preprocess.std) == values
        note = card.notes.get("normalisation", "")
        assert (f"where the model states mean {own.mean}, std {own.std}" in note) is noted


def test_another_engine_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny", tiny_bundle())
    with pytest.raises(ConfigError, match="no engine called 'openvno'") as caught:
        load(tmp_path / "tiny", engine="openvno")
    assert "openvino" in caught.value.hint


def test_the_model_inside_the_package_is_the_default() -> None:
    bundle = load_bundle(ModelChoice())
    assert bundle.card.name == DEFAULT_MODEL
    assert bundle.labels == read_labels("cifar10")
    assert len(bundle.graph) <= 8_000_000
    assert read_bundle(embedded_folder(DEFAULT_MODEL)).card == bundle.card, "it is not checked when opened, but here"


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_models_are_sound(name: str) -> None:
    bundle = load_bundle(ModelChoice(name))
    stored = read_bundle(embedded_folder(name)).card
    assert replace(stored, files=stored.files | {"model.onnx": bundle.sha256}) == bundle.card


def test_the_networks_of_the_embedded_cascade_lie_beside_it(tmp_path: Path) -> None:
    names = ("wrn_16_1.cifar10", "wrn_16_4.cifar10")
    cascade, members = load_bundle(ModelChoice("cifar10.cascade")), [load_bundle(ModelChoice(name)) for name in names]
    assert [member.sha256 for member in cascade.members] == [member.sha256 for member in members]
    write_bundle(tmp_path / "copy", cascade)
    assert (tmp_path / "copy/members/1/model.onnx").is_file(), "a copy is complete"
    assert logits(read_bundle(tmp_path / "copy")).tolist() == logits(cascade).tolist()
    shutil.copytree(embedded_folder("cifar10.cascade"), tmp_path / "cifar10.cascade")
    for name in names:
        write_bundle(tmp_path / name, members[1])
    with pytest.raises(BundleError, match=f"{names[0]}/card.json is not the file"):
        read_bundle(tmp_path / "cifar10.cascade")


# Weights files


def test_a_file_of_ours_carries_its_card(tmp_path: Path) -> None:
    card = replace(
        tiny_bundle().card, name="wrn_10_1.mine", preprocess=Preprocess(resize=40, crop=32), notes={"seed": "7"}
    )
    path = tmp_path / "model.safetensors"
    save_tensors(path, tiny_tensors(TINY), {CARD_KEY: TypeAdapter(ModelCard).dump_json(card).decode()})
    bundle = load_bundle(ModelChoice(str(path)))
    assert (bundle.card.name, bundle.card.preprocess, bundle.card.notes) == (card.name, card.preprocess, card.notes)
    assert bundle.card.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert bundle.card.weights_source == "model.safetensors"


def test_a_file_of_ours_carries_its_labels_too_and_the_users_own_go_before_them(tmp_path: Path) -> None:
    path, own = tmp_path / "model.safetensors", tmp_path / "names.txt"
    labels = Labels(tuple(f"kind {k}" for k in range(10)), tuple(f"n{k}" for k in range(10)))
    card = replace(tiny_bundle().card, labels_name="")
    metadata = {CARD_KEY: TypeAdapter(ModelCard).dump_json(card).decode(), LABELS_KEY: format_labels(labels)}
    save_tensors(path, tiny_tensors(TINY), metadata)
    assert load_bundle(ModelChoice(str(path))).labels == labels
    own.write_text("".join(f"mine {k}\n" for k in range(10)))
    assert load_bundle(ModelChoice(str(path), labels=own)).labels.names[3] == "mine 3"


def test_a_card_inside_states_the_whole_variant(tmp_path: Path) -> None:
    """Norms that look untrained are a sign of FixMatch's code, with LeakyReLU; a card without one excludes it."""
    tensors = tiny_tensors(TINY)
    for stage in (2, 3):
        norm = f"layer{stage}.0.bn1"
        tensors[f"{norm}.weight"], tensors[f"{norm}.bias"] = (np.full_like(tensors[f"{norm}.bias"], x) for x in (1, 0))
    for variant in ({}, {"shortcut": "skip_norm"}):
        card = replace(tiny_bundle().card, variant=variant)
        save_tensors(tmp_path / "a.safetensors", tensors, {CARD_KEY: TypeAdapter(ModelCard).dump_json(card).decode()})
        assert load_bundle(ModelChoice(str(tmp_path / "a.safetensors"))).card.variant == variant


def test_a_card_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for index, card in enumerate(("{", '{"name": 3}')):
        path = tmp_path / f"{index}.safetensors"
        save_tensors(path, tiny_tensors(TINY), {CARD_KEY: card})
        with pytest.raises(WeightsError, match="card inside"):
            load_bundle(ModelChoice(str(path)))


def test_one_file_read_in_two_ways_is_two_models(tmp_path: Path) -> None:
    """So that a run is not resumed, and shards do not add up, with another function or copy of the same file."""
    live = tiny_tensors(TINY)
    copies = {f"ema.{name}": array + 0 for name, array in live.items()} | {f"net.{k}": v for k, v in live.items()}
    copies["ema.fc.bias"] = copies["ema.fc.bias"] + np.float32(0.5)
    save_tensors(tmp_path / "a.safetensors", copies, {})
    ways = (FileFacts(which="live"), FileFacts(which="ema"), FileFacts(which="live", variant={"activation": "silu"}))
    bundles = [load_bundle(ModelChoice(str(tmp_path / "a.safetensors"), facts=facts)) for facts in ways]
    assert len({bundle.card.weights_sha256 for bundle in bundles}) == 1
    runs = [run_identity(open_classifier(bundle), InferenceSettings(), 5, ()).as_json() for bundle in bundles]
    assert len({json.dumps(run) for run in runs}) == 3
    assert [bundle.card.files["model.onnx"] for bundle in bundles] == [bundle.sha256 for bundle in bundles]


def test_the_card_of_another_network_inside_a_file_is_an_error(tmp_path: Path) -> None:
    """As when somebody saves new tensors with the metadata of the file that training began with."""
    card = replace(tiny_bundle().card, architecture="wrn_16_1")
    metadata = {CARD_KEY: TypeAdapter(ModelCard).dump_json(card).decode()}
    save_tensors(tmp_path / "a.safetensors", tiny_tensors(TINY), metadata)
    with pytest.raises(WeightsError, match=r"a\.safetensors holds wrn_10_1, and the card of another network"):
        load_bundle(ModelChoice(str(tmp_path / "a.safetensors")))


def test_a_network_of_one_output_is_refused_except_for_its_features(tmp_path: Path) -> None:
    """Softmax over one output is 1: such a file (of a binary network) answered "class 0, 100 %" to any image."""
    binary = replace(TINY, classes=1)
    save_tensors(tmp_path / "a.safetensors", tiny_tensors(binary), {})
    with pytest.raises(WeightsError, match=r"has one output, the likeliest of any image") as caught:
        load_bundle(ModelChoice(str(tmp_path / "a.safetensors")))
    assert "'wrn embed'" in caught.value.hint
    facts = FileFacts(headless=True)
    assert load_bundle(ModelChoice(str(tmp_path / "a.safetensors"), facts=facts)).card.classes == 1


def test_a_foreign_pth_file_is_known_by_its_tensors(tmp_path: Path) -> None:
    path = save_pth(tmp_path / "theirs.pth", tiny_tensors(TINY))
    bundle = load_bundle(ModelChoice(str(path)))
    assert (bundle.card.name, bundle.card.architecture, bundle.card.licence) == ("theirs", "wrn_10_1", "unknown")
    assert bundle.labels == read_labels("cifar10")
    preprocessing, names, function = bundle.card.assumed
    assert preprocessing.startswith("preprocessing: resize 32, centre crop 32, mean 0.4914")
    assert names == "class names: those of cifar10 (for 10 classes)"
    assert function.startswith("function: activation relu, bn_eps 1e-05, shortcut activated (no shape shows it; --act")
    with pytest.warns(AssumptionWarning, match=r"theirs\.pth: preprocessing: .*; class names"):
        classifier = load(path, engine="pytorch")
    np.testing.assert_allclose(classifier.logits(images()), logits(bundle), atol=1e-4)


def test_a_foreign_network_of_other_classes_gets_numbered_labels_or_the_users_own(tmp_path: Path) -> None:
    path = save_pth(tmp_path / "three.pth", tiny_tensors(get_architecture("wrn_10_1", 3)))
    assert load_bundle(ModelChoice(str(path))).labels.names == ("class 0", "class 1", "class 2")
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\nfly\n")
    assert load_bundle(ModelChoice(str(path), labels=names)).labels.names == ("ant", "bee", "fly")
    names.write_text("ant\nbee\n")
    with pytest.raises(ConfigError, match="2 labels for 3 classes"):
        load_bundle(ModelChoice(str(path), labels=names))
    with pytest.raises(ConfigError, match="cannot read the labels"):
        load_bundle(ModelChoice(str(path), labels=tmp_path / "absent.txt"))


@pytest.mark.parametrize("beside", [
    {"class_names": [f"kind {index}" for index in range(40)]},
    {"class_to_idx": {f"kind {index}": index for index in reversed(range(40))}},
    {"meta": {"dataset_meta": {"classes": tuple(f"kind {index}" for index in range(40))}}},
    {"hyper_parameters": {"id2label": {index: f"kind {index}" for index in range(40)}}},
])  # fmt: skip
def test_class_names_in_a_checkpoint_are_used(tmp_path: Path, beside: dict[str, object]) -> None:
    tensors = tiny_tensors(get_architecture("wrn_10_1", 40))
    state = {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}
    torch.save({"state_dict": state, **beside}, tmp_path / "a.pt")
    bundle = load_bundle(ModelChoice(str(tmp_path / "a.pt")))
    assert bundle.labels.names == tuple(f"kind {index}" for index in range(40))
    assert not [text for text in bundle.card.assumed if text.startswith("class names")]
    torch.save({"state_dict": state, **beside, "classes": ["cat", "dog"]}, tmp_path / "b.pt")
    assert load_bundle(ModelChoice(str(tmp_path / "b.pt"))).labels == bundle.labels
    torch.save({"state_dict": state, **beside, "classes": list(map(str, range(40)))}, tmp_path / "c.pt")
    bundle = load_bundle(ModelChoice(str(tmp_path / "c.pt")))
    assert bundle.labels.names[1] == "class 1"
    assert [text for text in bundle.card.assumed if text.startswith("class names")] == [
        REFUSED_NAMES.format(40)
    ]


@pytest.mark.parametrize("names", [
    set("abcdefghij"), frozenset("abcdefghij"), np.array(list("abcdefghij")), np.array(list("abcdefghij"), object),
    {str(index + 1): name for index, name in enumerate("abcdefghij")},
], ids=lambda names: type(names).__name__)  # fmt: skip
@pytest.mark.parametrize("key", ["class_names", "classes_"])
def test_names_in_a_checkpoint_that_cannot_be_used_do_not_become_those_of_cifar10(
    tmp_path: Path, key: str, names: object
) -> None:
    state = {name: torch.from_numpy(np.array(value)) for name, value in tiny_tensors(TINY).items()}
    torch.save({"state_dict": state, "args": {"dataset": "cifar10"}, "encoder": {key: names}}, tmp_path / "a.pt")
    bundle = load_bundle(ModelChoice(str(tmp_path / "a.pt")))
    assert (bundle.labels.names[0], bundle.card.labels_name) == ("class 0", "")
    assert [text for text in bundle.card.assumed if "class names" in text] == [REFUSED_NAMES.format(10)]


@pytest.mark.parametrize(
    ("settings", "stated", "likely"),
    [
        ({"dataset": "CIFAR-10"}, "cifar10", "cifar10"), ({"dataset": "torch/cifar10"}, "cifar10", "cifar10"),
        ({"dataset": "svhn", "ood_dataset": "cifar10"}, "", ""), ({"dataset": "stl10"}, "", ""),
        ({"data": "/home/me/pytorch-cifar10/data/food"}, "", "cifar10"), ({"dataset": "cifar10c"}, "", "cifar10"),
        ({"dataset": "svhn", "data": "/cifar10"}, "svhn", "svhn"), ({"data": "svhn"}, "", "svhn"),
    ],
)  # fmt: skip
def test_only_the_name_of_a_data_set_states_its_class_names(
    tmp_path: Path, settings: dict[str, str], stated: str, likely: str
) -> None:
    state = {name: torch.from_numpy(np.array(value)) for name, value in tiny_tensors(TINY).items()}
    torch.save({"state_dict": state, "args": settings}, tmp_path / "a.pt")
    card = load_bundle(ModelChoice(str(tmp_path / "a.pt"))).card
    assert card.labels_name == (stated or likely or "cifar10")
    assumed = f"class names: those of {likely or 'cifar10'} (for 10 classes)"
    assert [text for text in card.assumed if text.startswith("class names")] == ([] if stated else [assumed])


def test_values_of_a_checkpoint_that_are_not_looked_at_are_counted(tmp_path: Path) -> None:
    state = {key: torch.from_numpy(np.array(value)) for key, value in tiny_tensors(TINY).items()}
    files = list(map(str, range(26_000)))
    torch.save({"files": files, "state_dict": state, "classes": list("abcdefghij")}, tmp_path / "a.pt")
    bundle = load_bundle(ModelChoice(str(tmp_path / "a.pt")))
    assert bundle.labels.names == tuple("abcdefghij")
    assert bundle.card.assumed[-1] == "1,000 values of the checkpoint were not looked at"


def test_the_function_of_an_imagenet_network_is_assumed_where_names_do_not_show_its_library(tmp_path: Path) -> None:
    tensors = tiny_tensors(get_architecture("wrn_imagenet_18_1", 3))
    theirs = {name.replace("downsample", "skip").replace("layer", "stage"): array for name, array in tensors.items()}
    for names, count in ((tensors, 0), (theirs, 1)):
        save_tensors(tmp_path / "a.safetensors", names, {})
        card = load_bundle(ModelChoice(str(tmp_path / "a.safetensors"))).card
        function = [text for text in card.assumed if text.startswith("function: ")]
        text = "function: activation relu, bn_eps 1e-05 (no shape shows it; --activation, --bn-eps change it)"
        assert function == [text] * count


def test_a_training_state_says_what_it_lacks(tmp_path: Path) -> None:
    """Its class names and preprocessing are those of the data, which it does not hold."""
    tensors = tiny_tensors(get_architecture("wrn_10_1", 40))
    state = {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}
    recipe = {"architecture": "wrn_10_1", "data": "folder"}
    torch.save({"recipe": recipe, "epoch": 1, "model": state}, tmp_path / "c.pt")
    assumed = load_bundle(ModelChoice(str(tmp_path / "c.pt"))).card.assumed
    assert "a training state has no preprocessing and no class names" in assumed[-1]


def test_naming_another_architecture_shows_the_difference(tmp_path: Path) -> None:
    path = save_pth(tmp_path / "theirs.pth", tiny_tensors(TINY))
    with pytest.raises(WeightsError, match="holds wrn_10_1 with 10 classes, not wrn_16_2") as caught:
        load_bundle(ModelChoice(str(path), facts=FileFacts("wrn_16_2")))
    assert caught.value.hint == "leave out --architecture, or give wrn_10_1"


def test_tensors_of_no_network_here_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_tensors(path, {"weight": np.zeros((2, 2), np.float32)}, {})
    with pytest.raises(WeightsError, match="no complete Wide ResNet among 1 layers"):
        load_bundle(ModelChoice(str(path)))


# The catalogue


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the catalogue says is the published one of a set: of our smallest network."""
    path = save_pth(tmp_path / "copied.pth", tiny_tensors(TINY))
    prefix = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    row = next(iter(CATALOGUE.values()))
    tiny = replace(
        row, name="wrn_10_1.test", architecture="wrn_10_1", sha256_prefix=prefix, labels="cifar10",
        preprocess=Preprocess(resize=36, crop=32),
    )  # fmt: skip
    monkeypatch.setitem(CATALOGUE, tiny.name, tiny)
    return path


def test_a_published_file_is_known_by_its_hash_whatever_it_is_called(published: Path) -> None:
    card = load_bundle(ModelChoice(str(published))).card
    assert (card.name, card.preprocess.resize) == ("wrn_10_1.test", 36)
    assert Path(card.weights_source).name == "copied.pth"


def test_facts_about_a_published_file_are_refused(published: Path) -> None:
    with pytest.raises(WeightsError, match="holds wrn_10_1 with 10 classes, not wrn_16_2"):
        load_bundle(ModelChoice(str(published), facts=FileFacts("wrn_16_2")))
    for facts in (FileFacts(variant={"activation": "silu"}), FileFacts(which="live")):
        with pytest.raises(ConfigError, match=r"is a published file of wrn_10_1\.test"):
            load_bundle(ModelChoice(str(published), facts=facts))


def test_a_name_with_a_file_of_ones_own_needs_no_connection(published: Path) -> None:
    card = load_bundle(ModelChoice("wrn_10_1.test", weights=published)).card
    assert (card.name, Path(card.weights_source).name) == ("wrn_10_1.test", "copied.pth")


def test_a_file_for_a_name_says_which_copy_of_it_is_used_and_what_is_not(published: Path, tmp_path: Path) -> None:
    copies = {f"ema.{name}": array for name, array in tiny_tensors(TINY).items()}
    copies |= {f"net.{name}": array + np.ones_like(array) for name, array in tiny_tensors(TINY).items()}
    statistics = {"mean": np.full(3, 0.1, np.float32), "std": np.full(3, 0.2, np.float32)}
    save_tensors(tmp_path / "a.safetensors", copies | statistics, {})
    cards = {
        which: load_bundle(ModelChoice("wrn_10_1.test", tmp_path / "a.safetensors", facts=FileFacts(which=which))).card
        for which in (None, "live")
    }
    other, *notes = cards[None].assumed
    assert other.startswith("the preprocessing and class names of wrn_10_1.test: by its hash")
    unused = "preprocessing: the mean and std that the file states are not used"
    assert notes == ["weights: the moving average, ema of the checkpoint", unused]
    assert list(cards["live"].assumed) == [other, unused]
    assert cards[None].files != cards["live"].files
    with pytest.raises(ConfigError, match="states what --which would say"):
        load_bundle(ModelChoice("wrn_10_1.test", facts=FileFacts(which="live")))


def test_a_name_takes_the_file_from_the_cache(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DownloadError, match="offline mode is on"):
        load_bundle(ModelChoice("wrn_10_1.test", offline=True))
    row = CATALOGUE["wrn_10_1.test"]
    (tmp_path / "cache").mkdir()
    published.rename(tmp_path / "cache" / row.file_name)
    card = load_bundle(ModelChoice("wrn_10_1.test", offline=True)).card
    assert card.weights_source == row.url
    assert card.published == row.published


# Names that are wrong


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("wide_resnet50_2.tv3_in1k", "did you mean 'wide_resnet50_2.tv"),
        ("wrn_16_4.cifar1", "did you mean 'wrn_16_4.cifar10'?"),
        ("wide_resnet50", "did you mean 'wide_resnet50_2'?"),
        ("something", "'wrn models' lists all"),
    ],
)
def test_a_wrong_name_is_an_error_with_the_closest_right_one(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="no model called") as caught:
        load(name)
    assert hint in caught.value.hint


def test_an_architecture_without_weights_says_so() -> None:
    with pytest.raises(ConfigError, match="wrn_28_10 is an architecture without published weights"):
        load("WRN-28-10")


@pytest.mark.parametrize(
    "name",
    [
        "absent.safetensors", "runs/mine", "absent.pth", "absent.pth.tar", "last.ckpt", "pytorch_model.bin",
        "absent.npz", "absent.pkl", "model.safetensors.index.json", "absent.xml", "ABSENT.PTH",
    ],
)  # fmt: skip
def test_a_path_that_is_nothing_is_called_a_path(name: str) -> None:
    with pytest.raises(ConfigError, match="no model at"):
        load(name)


def test_a_folder_without_a_card_is_no_model(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match="without card"):
            load(tmp_path)
        (tmp_path / "config.json").write_text("{}")


def test_a_folder_of_a_model_hub_is_its_weights(tmp_path: Path) -> None:
    """As ``huggingface_hub.snapshot_download`` makes it: a config.json beside weights of a usual name."""
    (tmp_path / "config.json").write_text(json.dumps({"label_names": list("abcdefghij")}))
    (tmp_path / "other.safetensors").touch()
    index = tmp_path / "model.safetensors.index.json"
    tensors = tiny_tensors(TINY)
    shards = {key: f"model-0000{1 + key.startswith('fc')}-of-00002.safetensors" for key in tensors}
    for shard in set(shards.values()):
        save_tensors(tmp_path / shard, {key: tensors[key] for key in tensors if shards[key] == shard}, {})
    index.write_text(json.dumps({"weight_map": shards}))
    with pytest.warns(AssumptionWarning):
        classifier = load(tmp_path)
    assert (classifier.card.weights_source, classifier.labels.names[0]) == (index.name, "a")
    save_tensors(tmp_path / "model.safetensors", tensors, {})
    with pytest.warns(AssumptionWarning):
        classifier = load(tmp_path)
    assert classifier.card.weights_source == "model.safetensors"
    save_pth(tmp_path / "pytorch_model.bin", tensors)
    assert resolve_model(str(tmp_path)) == WeightsFile(tmp_path / "model.safetensors")


def test_what_a_calibration_does_not_hold_for_is_warned_of() -> None:
    for settings, match in (({"precision": "bf16"}, "calibrated in f32"), ({"alpha": "white"}, "another alpha")):
        with pytest.warns(AssumptionWarning, match=match):
            load("wrn_16_1.cifar10", **settings)  # type: ignore[arg-type]
    with pytest.warns(AssumptionWarning, match="certified in openvino f32"):
        load("cifar10.cascade", engine="onnxruntime")


def test_networks_with_the_shapes_of_a_wrn_that_compute_something_else_are_refused(tmp_path: Path) -> None:
    """A classifier of cosines (RobustBench), residuals times 0.2 (fastai), no pool after the stem (Places365)."""
    tensors = tiny_tensors(wrn(10, 1))
    cosine = {key: value for key, value in tensors.items() if key != "fc.bias"}
    cosine["fc.weight"] = cosine["fc.weight"] / np.linalg.norm(cosine["fc.weight"], axis=1, keepdims=True)
    fastai = {re.sub(r"^layer(\d)\.0", r"features.\1", key): value for key, value in tensors.items()}
    basic = tiny_tensors(get_architecture("wrn_imagenet_18_1"))
    plain = {key: torch.from_numpy(np.array(value)) for key, value in basic.items()}
    places = {"arch": "wideresnet18", "state_dict": plain}
    for content, match in ((cosine, "cosines"), (fastai, "fastai"), (places, "Places365")):
        if content is places:
            torch.save(content, tmp_path / "a.pth")
        else:
            save_pth(tmp_path / "a.pth", content)
        with pytest.raises(WeightsError, match=match):
            load(tmp_path / "a.pth")


def test_what_names_alone_do_not_show_is_assumed(tmp_path: Path) -> None:
    """hysts' preactivated ResNet has the names and shapes of his WRN-n-1, but another first shortcut."""
    names = [(r"^layer(\d)\.0", r"stage\1.block1"), (r"^conv1\.", "conv."), (r"\.shortcut\.", ".shortcut.conv.")]
    for widen, is_assumed in ((1, True), (2, False)):
        tensors = tiny_tensors(wrn(10, widen))
        for pattern, name in names:
            tensors = {re.sub(pattern, name, key): value for key, value in tensors.items()}
        save_pth(tmp_path / "a.pth", tensors)
        with pytest.warns(AssumptionWarning) as caught:
            load(tmp_path / "a.pth")
        assert ("shortcut activated" in str(caught[0].message)) == is_assumed
