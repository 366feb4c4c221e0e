"""Options of ``wrn evaluate``: its data, its output, and which of them exclude each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.cluster import check_cluster_options
from wideresnet.cli.groups import ClusterOptions
from wideresnet.cli.options import Format, Page
from wideresnet.cli.output import list_notes, open_data
from wideresnet.cli.streams import say
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.datasets.labelled import LabelledData
    from wideresnet.records import Labels
    from wideresnet.tasks.evaluate.evaluate import AnswerSource
    from wideresnet.tasks.load.load import ModelChoice

RUNNING = (                                        # parameters that decide how a network runs
    "output", "resume", "transform", "alpha", "apply_exif", "resolution", "engine", "precision", "threads", "device",
    "batch_size", "infer_mode", "ray", "coverage", "normalise",
)  # fmt: skip
ApplyExif = Annotated[
    bool, typer.Option("--apply-exif", help="Apply the EXIF orientation, as 'wrn classify' and 'wrn finetune' do.")
]
SkipOrderCheck = Annotated[
    bool,
    typer.Option("--skip-order-check", "--any-order", help="Report even if the labels seem to be in another order."),
]


@dataclass(frozen=True)
class DataOptions:
    """The labelled images, and answers of other programs to them."""

    data: Annotated[
        str | None,
        typer.Argument(help="Class folders, an index (.csv, .txt), shards (.parquet, .tar), CIFAR or its name, SVHN."),
    ] = None
    labels_file: Annotated[
        Path | None, typer.Option("--labels-file", "--truth", help="The class of each image of a flat folder.")
    ] = None
    results: Annotated[
        Path | None, typer.Option("--results", help="Score this result.txt of the model zoo; no model is run.")
    ] = None
    outputs: Annotated[
        Path | None, typer.Option("--outputs", help="Score the arrays output_0 of a folder of .npz; no model is run.")
    ] = None
    shard: Annotated[
        str, typer.Option("--shard", help="i/n: every n-th image, from the i-th; 'wrn merge' adds up the n reports.")
    ] = ""

    @property
    def name(self) -> str:
        """The DATA argument. Raises ConfigError if it is missing."""
        if self.data is None:
            raise ConfigError("no labelled images: DATA is missing", hint="name a folder with one sub-folder per class")
        return self.data

    def open(self, labels: Labels) -> LabelledData:
        """Open the labelled images, or their part ``shard``."""
        data = open_data(Path(self.name), labels, self.labels_file)
        return data.take_part(self.shard) if self.shard else data

    def answers(self, choice: ModelChoice) -> AnswerSource:
        """Return the answers in ``results`` or ``outputs``; report assumptions and repeated lines on stderr."""
        from wideresnet.tasks.load.describe import labels_of
        from wideresnet.tasks.zoo.outputs import source_of_outputs, source_of_results

        labels, name, assumed = labels_of(choice)
        list_notes(assumed)
        if self.results is None:
            assert self.outputs is not None
            return source_of_outputs(self.outputs, labels, name, self.open(labels))
        answers, doubled = source_of_results(self.results, labels, name, self.open(labels) if self.data else None)
        if doubled:
            say(f"{doubled} lines of {self.results} are repeated and count once", err=True)
        return answers


@dataclass(frozen=True)
class OutputOptions:
    """The output of an evaluation."""

    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Write the score of every image (.csv, .jsonl, .parquet).")
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="With -o: continue an interrupted run of the same command.")
    ] = False
    page: Page = None
    format: Format = "table"

    def scores_file(self) -> Path | None:
        """Return the file of scores, if asked for. Raises ConfigError if it cannot be written."""
        from wideresnet.tasks.evaluate.resumable import check_scores

        file = Path(self.output) if self.output else None
        if file and not (self.resume and file.exists()):
            check_scores(file)
        return file


def check_options(context: typer.Context, source: DataOptions, target: OutputOptions, cluster: ClusterOptions) -> None:
    """Raise ConfigError for an option that has no effect beside the others."""
    results, answered = bool(source.results), bool(source.results or source.outputs)
    check_unused(context, results, "beside --results", "outputs")
    check_unused(context, results and not source.data, "without DATA", "labels_file", "shard")
    check_unused(context, answered, "on answers, all of which are scored", "shard")
    check_unused(context, target.page is None, "without --report", "lang")
    check_unused(context, answered, "with --results or --outputs: no model is run", *RUNNING)
    check_cluster_options(context, cluster)
