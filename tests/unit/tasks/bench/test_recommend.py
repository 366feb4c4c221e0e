"""Published accuracy against speed: what is measured wins over what is predicted, and nothing dominated is best."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import typer

from fakes import tiny_cascade
from wideresnet.architectures import get_architecture
from wideresnet.cli.main import app
from wideresnet.errors import ConfigError
from wideresnet.machine import available_cpus, cpu_name
from wideresnet.records import CascadeSpeed, Peak
from wideresnet.report import recommendation
from wideresnet.tasks.bench.recommend import PEAK_FRACTION, Requirements, recommend
from wideresnet.weights.catalogue import CATALOGUE

COMMANDS = typer.main.get_command(app).commands
PEAK = Peak(f32=200.0, bf16=400.0, int8=800.0)


def one(choices, name, precision):
    return next(c for c in choices if (c.name, c.precision) == (name, precision))


def bench_row(model, what, precision, rate, share):
    return {
        "engine": "openvino", "what": what, "model": model, "precision": precision,
        "images_per_s": rate, "peak_share": share, "threads": available_cpus(),
    }  # fmt: skip


def bench_file(path, *rows):
    path.write_text(json.dumps({"rows": rows, "machine": {"cpu": cpu_name()}}))
    return path


def test_every_set_of_weights_in_every_precision_is_there_once():
    choices = recommend(Requirements(), PEAK)
    assert len({(c.name, c.precision) for c in choices}) == len(choices) == 3 * len(CATALOGUE)
    assert [c.top1 for c in choices] == sorted((c.top1 for c in choices), reverse=True)
    assert all(c.fits for c in choices)


def test_a_precision_the_machine_lacks_is_left_out():
    assert {c.precision for c in recommend(Requirements(), Peak(f32=50.0))} == {"f32"}


def test_prediction_is_macs_against_the_peak():
    choice = one(recommend(Requirements(), PEAK), "wide_resnet50_2.tv2_in1k", "int8")
    macs = get_architecture("wide_resnet50_2").macs(224)
    assert choice.images_per_s == pytest.approx(PEAK_FRACTION * 800e9 / (2 * macs))
    assert choice.latency_ms == pytest.approx(1e3 / choice.images_per_s)
    assert choice.speed == "predicted"
    assert choice.top1 == pytest.approx(0.81602 - 0.002)


def test_tv2_at_176_is_faster_and_better_than_tv_at_224():
    choices = recommend(Requirements(), PEAK)
    small, old = (one(choices, name, "f32") for name in ("wide_resnet50_2.tv2_in1k@176", "wide_resnet50_2.tv_in1k"))
    assert small.images_per_s > old.images_per_s
    assert small.top1 > old.top1
    assert not old.best


def test_a_benchmark_of_the_same_model_is_taken_and_one_of_its_kind_gives_the_share(tmp_path):
    file = bench_file(
        tmp_path / "speed.json",
        bench_row("wide_resnet50_2.tv2_in1k", "engine", "f32", 7.0, 0.8),
        bench_row("wide_resnet50_2.random", "latency", "f32", 3.0, 0.5),
    )
    choices = recommend(Requirements(), PEAK, file)
    own = one(choices, "wide_resnet50_2.tv2_in1k", "f32")
    assert (own.images_per_s, own.speed) == (7.0, "measured")
    limit = 200e9 / (2 * get_architecture("wide_resnet50_2").macs(224))
    assert own.latency_ms == pytest.approx(1e3 / (0.5 * limit))
    assert one(choices, "wide_resnet50_2.tv_in1k", "f32").images_per_s == pytest.approx(0.8 * limit)
    other = one(choices, "wide_resnet101_2.tv_in1k", "f32")
    macs = get_architecture("wide_resnet101_2").macs(224)
    assert other.images_per_s == pytest.approx(PEAK_FRACTION * 200e9 / (2 * macs))


@pytest.mark.parametrize(
    ("requirements", "holds"),
    [
        (Requirements(latency_ms=60), lambda c: c.latency_ms <= 60),
        (Requirements(images_per_s=10), lambda c: c.images_per_s >= 10),
        (Requirements(accuracy=0.82), lambda c: c.top1 >= 0.82),
        (Requirements(100, 10, 0.8), lambda c: c.latency_ms <= 100 and c.images_per_s >= 10 and c.top1 >= 0.8),
    ],
)
def test_a_wish_marks_what_meets_it_and_only_that(requirements, holds):
    choices = recommend(requirements, PEAK)
    assert {c.fits for c in choices} == {True, False}
    assert all(c.fits == holds(c) for c in choices)


def test_accuracy_as_published_meets_the_requirement_of_it():
    for choice in recommend(Requirements(), PEAK):
        required = float(f"{100 * choice.top1:.3f}") / 100           # as the command line reads it
        assert one(recommend(Requirements(accuracy=required), PEAK), choice.name, choice.precision).fits, required


def test_another_file_is_an_error(tmp_path):
    row = bench_row("wide_resnet50_2.tv_in1k", "engine", "f32", 7.0, 0.8)
    cut = [json.dumps({"machine": {}, "rows": [{**row, name: None}]}) for name in ("model", "precision", "threads")]
    lacking = json.dumps({"machine": {}, "rows": [{name: row[name] for name in ("engine", "what")}]})
    for content in ("{}", "no json", "[]", lacking, *cut):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(ConfigError, match="not a document of 'wrn bench'"):
            recommend(Requirements(), PEAK, tmp_path / "x.json")
    (tmp_path / "x.json").write_bytes(b'{"rows": "\xff"}')
    with pytest.raises(ConfigError, match="not a document of 'wrn bench'"):
        recommend(Requirements(), PEAK, tmp_path / "x.json")
    with pytest.raises(ConfigError, match="cannot read"):
        recommend(Requirements(), PEAK, tmp_path / "missing.json")


def test_a_latency_that_was_predicted_is_not_called_measured(tmp_path):
    """Rate and latency each say where they are from."""
    name = "wide_resnet50_2.tv2_in1k"
    rate, wait = bench_row(name, "engine", "f32", 7.0, 0.8), bench_row(name, "latency", "f32", 3.0, 0.5)
    for rows, found in (((rate,), ("measured", "predicted")), ((rate, wait), ("measured", "measured"))):
        choice = one(recommend(Requirements(), PEAK, bench_file(tmp_path / "speed.json", *rows)), name, "f32")
        assert (choice.speed, choice.latency) == found
        shown = recommendation.to_text([choice], PEAK, choice)
        assert (f"~{choice.latency_ms:.0f} " in shown, "~7.0" in shown) == ("predicted" in found, False)


def test_rows_of_another_number_of_threads_do_not_count(tmp_path):
    name = "wide_resnet50_2.tv2_in1k"
    more = available_cpus() + 1
    file = bench_file(tmp_path / "speed.json", {**bench_row(name, "engine", "f32", 7.0, 0.8), "threads": more})
    assert one(recommend(Requirements(), PEAK, file, more), name, "f32").speed == "measured"
    with pytest.raises(ConfigError, match=f"no engine or latency row of openvino with {more - 1} threads ") as caught:
        recommend(Requirements(), PEAK, file)      # every CPU of this process
    words = caught.value.hint.split()[1:]
    COMMANDS[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize("other", [{"engine": "pytorch"}, {"what": "startup"}, {"model": "wrn_16_4.cifar10"}])
def test_a_benchmark_without_a_usable_row_is_refused(tmp_path, other):
    file = bench_file(tmp_path / "speed.json", bench_row("wide_resnet50_2.tv_in1k", "engine", "f32", 7.0, 0.8) | other)
    with pytest.raises(ConfigError, match=r"no engine or latency row of openvino with .* for these models"):
        recommend(Requirements(), PEAK, file)


def test_speeds_at_another_resolution_are_no_measurement(tmp_path):
    name = "wide_resnet50_2.tv2_in1k"
    for pixels, speed in ((224, "measured"), (176, "predicted")):
        file = bench_file(tmp_path / "speed.json", {**bench_row(name, "engine", "f32", 7.0, 0.8), "pixels": pixels})
        assert one(recommend(Requirements(), PEAK, file), name, "f32").speed == speed


def test_a_model_that_fits_is_named_although_a_faster_one_is_slower_for_one_image(tmp_path):
    """A rival with more images a second and a longer wait does not fit, and is no reason to say that nothing does."""
    name, rival = "wide_resnet50_2.tv2_in1k", "wide_resnet101_2.tv2_in1k"
    rates = {("engine", name): 20, ("latency", name): 12, ("engine", rival): 25, ("latency", rival): 8}
    rows = [bench_row(model, what, "f32", rate, 0.1) for (what, model), rate in rates.items()]
    requirements = Requirements(latency_ms=100, accuracy=0.81)
    choices = recommend(requirements, Peak(f32=1.0), bench_file(tmp_path / "speed.json", *rows))
    assert [choice.name for choice in choices if choice.fits] == [name]
    shown = recommendation.to_text(choices, PEAK, min(choices, key=requirements.shortfall))
    assert f"take {name} in f32:" in shown
    assert "nothing here meets" not in shown


def test_speeds_of_another_cpu_are_refused(tmp_path):
    (tmp_path / "speed.json").write_text(json.dumps({"rows": [], "machine": {"cpu": "Abacus 3000"}}))
    with pytest.raises(ConfigError, match="was measured on Abacus 3000, this is"):
        recommend(Requirements(), PEAK, tmp_path / "speed.json")


@pytest.mark.parametrize(
    ("requirements", "name", "precision"),
    [
        (Requirements(images_per_s=1e4), "wide_resnet50_2.tv2_in1k@176", "int8"),        # the fastest
        (Requirements(latency_ms=1e-3), "wide_resnet50_2.tv2_in1k@176", "int8"),
        (Requirements(accuracy=0.9), "wide_resnet101_2.tv2_in1k", "f32"),                # the most accurate
        (Requirements(images_per_s=16, accuracy=0.825), "wide_resnet101_2.tv2_in1k", "int8"),
    ],
)
def test_without_a_match_the_nearest_is_named_with_its_commands(requirements, name, precision):
    choices = recommend(requirements, Peak(f32=200.0, int8=800.0))
    assert not any(choice.fits for choice in choices)
    choice = min(choices, key=requirements.shortfall)
    assert (choice.name, choice.precision) == (name, precision)
    text = " ".join(recommendation.to_text(choices, PEAK, choice).replace("\\\n", "").split())
    said, use, measure = text.rsplit(" wrn ", 2)
    assert f"nothing here meets what was asked; nearest is {name} in {precision} (" in said
    assert f" -m {name} " in use
    for command in (use, measure):
        known = {option for parameter in COMMANDS[command.split()[0]].params for option in parameter.opts}
        assert {word for word in command.split() if word.startswith("-")} <= known
    assert measure.endswith(f"--random-weights --input-shape {choice.pixels} --precision {precision}")


def test_with_a_match_its_commands_follow():
    requirements = Requirements(accuracy=0.825)
    choices = recommend(requirements, PEAK)
    shown = recommendation.to_text(choices, PEAK, min(choices, key=requirements.shortfall))
    use = "wrn classify photos/ -m wide_resnet101_2.tv2_in1k --precision bf16"
    assert f"\ntake wide_resnet101_2.tv2_in1k in bf16:\n  {use}\n" in shown


def test_a_cascade_is_listed_with_the_accuracy_and_the_speed_of_its_card():
    """60 of 100 images right; 2 M MACs on average; 12 images/s in the median of the turns."""
    made = tiny_cascade().card
    card = replace(made, labels_name="imagenet")
    predicted = one(recommend(Requirements(), PEAK, cascades={"c/": card}), "c/", "f32")
    assert (predicted.top1, predicted.source, predicted.is_cascade) == (0.6, "noise", True)
    assert (predicted.speed, predicted.latency) == ("predicted", "predicted")
    assert predicted.images_per_s == pytest.approx(PEAK_FRACTION * 200e9 / (2 * 2e6))
    turns = CascadeSpeed((3.0, 4.0, 5.0), (11.0, 12.0, 30.0), 8, 8, available_cpus(), 2, cpu_name())
    fast = replace(card, cascade=replace(made.cascade, speed=turns))
    slow = predicted.images_per_s
    for threads, rate, speed in ((0, 12.0, "measured"), (available_cpus() + 1, slow, "predicted")):
        choice = one(recommend(Requirements(), PEAK, None, threads, {"c/": fast}), "c/", "f32")
        assert (choice.images_per_s, choice.speed) == (rate, speed)
    elsewhere = replace(card, cascade=replace(made.cascade, speed=replace(turns, cpu="another")))
    assert one(recommend(Requirements(), PEAK, cascades={"c/": elsewhere}), "c/", "f32").speed == "predicted"
    text = recommendation.to_text([predicted], PEAK, predicted)
    assert "wrn classify photos/ -m c/" in text
    assert "wrn bench -m c/ --data photos/" in text


def test_the_benchmark_of_a_cascade_wins_over_its_card(tmp_path):
    made = tiny_cascade().card
    card = replace(made, labels_name="imagenet")
    rows = [bench_row(card.name, "engine", "f32", 77.0, 0.5), bench_row(card.name, "latency", "f32", 50.0, 0.4)]
    choice = one(recommend(Requirements(), PEAK, bench_file(tmp_path / "b.json", *rows), 0, {"c/": card}), "c/", "f32")
    assert (choice.images_per_s, choice.latency_ms, choice.speed) == (77.0, 20.0, "measured")


@pytest.mark.parametrize("changes", [{"cascade": None}, {"labels_name": "cifar10"}, {"labelled": False}])
def test_what_cannot_be_compared_is_refused(changes):
    made = tiny_cascade().card
    unlabelled = {"cascade": replace(made.cascade, labelled=False)} if "labelled" in changes else changes
    card = replace(made, **{"labels_name": "imagenet"} | unlabelled)
    with pytest.raises(ConfigError, match="the accuracy of c/ cannot be compared"):
        recommend(Requirements(), PEAK, cascades={"c/": card})


def test_the_share_of_fewer_threads_is_of_their_own_peak(tmp_path):
    """A document's shares are of the peak of its most threads: 0.2 with one of four is 0.8 of that thread's."""
    rows = [
        bench_row("wide_resnet50_2.random", "engine", "f32", rate, share) | {"threads": threads}
        for threads, rate, share in ((1, 1.0, 0.2), (4, 4.0, 0.8))
    ]
    file = bench_file(tmp_path / "speed.json", *rows)
    macs = get_architecture("wide_resnet50_2").macs(224)
    for threads in (1, 4):
        choice = one(recommend(Requirements(), PEAK, file, threads), "wide_resnet50_2.tv2_in1k", "f32")
        assert choice.images_per_s == pytest.approx(0.8 * 200e9 / (2 * macs))
