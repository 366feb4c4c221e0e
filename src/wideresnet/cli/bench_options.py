"""The group of options of ``wrn bench`` that decide what is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from wideresnet.cli.options import MODEL, Models
from wideresnet.cli.output import open_bundle
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.records import FileFacts
    from wideresnet.tasks.bench.options import BenchPrecision, BenchSettings, Measurement


@dataclass(frozen=True)
class BenchOptions:
    """The models, and the settings of their candidates."""

    model: Models = None
    measurements: Annotated[
        list[str] | None, typer.Option("--what", help="engine, end-to-end, latency or startup; may be repeated.")
    ] = None
    data: Annotated[Path | None, typer.Option(help="Folder of image files; without it, noise.")] = None
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="-m is an architecture, measured with random weights.")
    ] = False
    engine: Annotated[str, typer.Option(help="One or several: openvino,onnxruntime,pytorch.")] = "openvino"
    precision: Annotated[
        str, typer.Option(help="One or several: f32,bf16,int8. Default: the precision that the model is stored in.")
    ] = ""
    batch: Annotated[str, typer.Option("--batch-size", help="Images per batch, one number or several: 1,8.")] = "8"
    streams: Annotated[str, typer.Option(help="Batches computed in parallel; 0: the engine decides.")] = "0"
    threads: Annotated[str, typer.Option(help="CPU threads; 0: all CPUs that the process may use.")] = "0"
    iterations: Annotated[
        int, typer.Option(min=0, help="Batches (end to end: images) per candidate; 0: --seconds applies.")
    ] = 0
    seconds: Annotated[float, typer.Option(help="Seconds of measurement per candidate.")] = 10.0
    rounds: Annotated[int, typer.Option(min=1, help="Turns per candidate.")] = 5
    input_shape: Annotated[
        str, typer.Option("--input-shape", "--resolution", help="Another input size: 3,176,176 or 176.")
    ] = ""
    infer_mode: Annotated[
        Literal["sync", "async"],
        typer.Option(help="engine: one batch after another (sync), or several in flight (async)."),
    ] = "async"
    fast_decode: Annotated[
        bool,
        typer.Option("--fast-decode", help="end-to-end: also with large JPEGs decoded at a fraction of their size."),
    ] = False
    profile: Annotated[bool, typer.Option("--profile", help="Report the time of each layer and stage.")] = False
    tune: Annotated[
        bool, typer.Option("--tune", help="Find and store the fastest threads, streams and batch for this machine.")
    ] = False

    def settings(self) -> BenchSettings:
        """Return the settings of the benchmark. Raises ConfigError."""
        from wideresnet.tasks.bench.options import BenchSettings

        default = [] if self.tune else ["engine"]
        return BenchSettings(
            cast("tuple[Measurement, ...]", tuple(self.measurements or default)), _split(self.engine),
            cast("tuple[BenchPrecision, ...]", _split(self.precision)), _numbers("--batch-size", self.batch),
            _numbers("--streams", self.streams), _numbers("--threads", self.threads), self.infer_mode == "sync",
            self.rounds, self.seconds, self.iterations, self.data, self.profile, self.tune, self.fast_decode,
        )  # fmt: skip

    def open_models(self, facts: FileFacts) -> list[Bundle]:
        """Load the models, or make them with random weights. Raises ConfigError."""
        from wideresnet.tasks.bench.random_weights import random_model
        from wideresnet.tasks.load.load import ModelChoice

        side, names = _side(self.input_shape), self.model or [MODEL]
        if self.random_weights:
            return [random_model(name, side, self.data) for name in names]
        return [open_bundle(ModelChoice(name, facts=facts), side) for name in names]


def _split(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(option: str, text: str) -> tuple[int, ...]:
    numbers = _split(text)
    if not numbers or not all(number.isdecimal() for number in numbers):
        raise ConfigError(f"{option} takes whole numbers with commas between, got {text!r}")
    return tuple(map(int, numbers))


def _side(shape: str) -> int:
    """Return the side of ``3,224,224``, ``[3,224,224]`` or ``224``; 0 for an empty text."""
    if not shape:
        return 0
    numbers = _numbers("--input-shape", shape.strip("[]"))
    if len(numbers) not in (1, 3) or (len(numbers) == 3 and (numbers[0] != 3 or numbers[1] != numbers[2])):
        raise ConfigError(f"--input-shape takes 3,SIDE,SIDE or SIDE, got {shape!r}", hint="for instance 3,176,176")
    return numbers[-1]
