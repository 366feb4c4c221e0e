"""Everything that decides how the service behaves, in one frozen value made at the edge."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from wideresnet.config import explain
from wideresnet.errors import ConfigError
from wideresnet.machine import available_cpus
from wideresnet.pipes import read_text
from wideresnet.records import Alpha
from wideresnet.tasks.load.load import DEFAULT_MODEL

MiB = 2**20


class ServeSettings(BaseModel):
    """What ``wrn serve`` is told; 0 leaves a number to the service. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field((DEFAULT_MODEL,), min_length=1)    # NAME, or ALIAS=NAME; the first is the default
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)        # 0: any free one
    engine: str = "openvino"
    precision: Literal["f32", "bf16"] = "f32"
    alpha: Alpha | None = None                     # of transparent images; None: as each model's card says
    threads: int = Field(0, ge=0)
    streams: int = Field(0, ge=0)
    queue: int = Field(0, ge=0)                    # images inside at most, waiting and worked on
    max_bytes: int = Field(32 * MiB, ge=1)         # of one request's body, also once inflated
    max_pixels: int = Field(2**26, ge=1)           # of one image
    max_images: int = Field(64, ge=1)            # of one request
    deadline: float = Field(30.0, gt=0)            # from the whole body to the answer
    upload_deadline: float = Field(30.0, gt=0)     # from the head of a request to its whole body
    drain: float = Field(30.0, ge=0)               # from SIGTERM to the last answer
    token: SecretStr | None = None
    explain: bool = True                           # whether /v1/explain answers
    cors: tuple[str, ...] = ()                     # origins
    log: Literal["json", "off"] = "off"

    @cached_property                               # every request asks, and the CPUs are read from files of the system
    def capacity(self) -> int:
        """Images inside at most; a request of ``max_images`` fits by default."""
        return self.queue or usual_queue(available_cpus())

    @property
    def most_images(self) -> int:
        """Images of one request at most: more than fit inside never would."""
        return min(self.max_images, self.capacity)

    @property
    def held_bytes(self) -> int:
        """Bytes of all bodies inside at most: eight of the largest."""
        return 8 * self.max_bytes


def usual_queue(cpus: int) -> int:
    """How many images may be inside where nobody says it."""
    return max(64, 16 * cpus)


def make_settings(values: dict[str, Any]) -> ServeSettings:
    """Validated settings. Raises ConfigError for what is none."""
    try:
        return ServeSettings(**values)
    except ValidationError as error:
        raise explain(error, "wrn serve", ServeSettings.model_fields) from error


def read_token(file: Path) -> str:
    """The bearer token in a file, without the white space around. Raises ConfigError when there is none."""
    try:
        token = read_text(file, "ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token file {file}: {error}") from error
    return check_token(token, f"the token file {file}")


def check_token(token: str, where: str) -> str:
    """``token``, found in ``where``. Raises ConfigError for one that no client could send."""
    if not token or any(not mark.isprintable() or mark.isspace() for mark in token):
        fault = "is empty" if not token else "holds more than one word"
        raise ConfigError(f"{where} {fault}", hint="'openssl rand -hex 32' makes a token")
    return token
