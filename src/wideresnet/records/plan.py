"""The schedule, time and memory of a training run, estimated before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from wideresnet.records.skipped import Skipped


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs of one image size, with or without a teacher, and of one rate (of "steps") from 0 on."""

    first: int
    last: int                                      # the last epoch of it
    side: int                                      # pixels
    rates: tuple[float, float, float]              # of its first step, the highest, of its last step
    macs: int                                      # of one image, forwards
    step_seconds: float                            # median of the measured steps of this size, with their loading
    measured: int                                  # number of these steps
    taught: bool = False                           # the steps include a teacher's answers

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class TrainingPlan:
    """The schedule of a recipe, with times and memory from a few measured steps on noise."""

    architecture: str
    data: str
    classes: int
    parameters: int
    precision: str                                 # requested, of the convolutions
    batch_size: int
    train: int                                     # images
    test: int
    steps_per_epoch: int
    phases: tuple[Phase, ...]
    evaluations: int
    evaluation_seconds: float                      # each
    peak_rss_mb: float                             # of the process, over the measured steps
    pictures_mb: float                             # of the images that a run holds in memory
    disk_mb: float = 0.0                           # of the images if they are on a disk instead
    answers_mb: float = 0.0                        # of a teacher's answers to views that repeat
    skipped: Skipped = field(default_factory=Skipped)
    runs: int = 1                                  # one after another, with a seed each; the values above are of one

    @property
    def steps(self) -> int:
        """Steps of the complete run."""
        return self.steps_per_epoch * sum(phase.epochs for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Seconds of all steps and evaluations, without reading the images first."""
        training = sum(phase.epochs * phase.step_seconds for phase in self.phases) * self.steps_per_epoch
        return training + self.evaluations * self.evaluation_seconds

    @property
    def memory_mb(self) -> float:
        """Peak memory of the run."""
        return self.peak_rss_mb + self.pictures_mb + self.answers_mb
