"""The settings of the service: one frozen value, validated once."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from wideresnet.config import read_yaml, validated
from wideresnet.errors import ConfigError, errors_as
from wideresnet.images.decode import Limits
from wideresnet.machine import available_cpus
from wideresnet.pipes import read_text
from wideresnet.precision import precision_name
from wideresnet.records import Alpha, FileFacts
from wideresnet.tasks.load.resolve import DEFAULT_MODEL

MiB = 2**20
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|[A-Za-z][A-Za-z0-9+.-]*://[^\s/@?#]+)$", to_lower=True)]
HostName = Annotated[str, StringConstraints(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)$", to_lower=True)]


def _check_url(url: str) -> str:
    if url and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", url):
        raise ValueError(f"give a URL such as http://localhost:4318, got {url!r}")
    return url


class ServeSettings(BaseModel):
    """The settings of ``wrn serve``; 0 chooses a number automatically. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    models: tuple[str, ...] = (DEFAULT_MODEL,)     # NAME, or ALIAS=NAME; the first is the default
    folder: Path | None = None                     # whose sub-folders are bundles, or hold numbered versions of one
    versions: int = Field(1, ge=1, le=256)         # of a model in ``folder``: the newest
    poll: float = Field(5.0, ge=0)                 # between looks at ``folder``; 0: only at SIGHUP and on request
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)        # 0: any free one
    grpc_port: int | None = Field(None, ge=0, le=65535)    # None: no gRPC
    engine: str = "openvino"
    precision: Annotated[Literal["f32", "bf16"], BeforeValidator(precision_name)] = "f32"
    alpha: Alpha | None = None                     # of transparent images; None: as each model's card says
    workers: int = Field(1, ge=1)                  # processes
    figures: Path | None = None                    # the folder in which several workers share their metrics
    threads: int = Field(0, ge=0)                  # of all workers
    streams: int | None = Field(None, ge=0)        # None: as tuned, else 1; 0: as many as the engine chooses
    queue: int = Field(0, ge=0)                    # images at most, waiting and in work
    max_bytes: int = Field(32 * MiB, ge=1)         # per request body, also when decompressed
    max_pixels: int = Field(2**26, ge=1)           # per image
    image_seconds: float = Field(5.0, gt=0)        # of decoding an image
    max_images: int = Field(64, ge=1)              # per request
    deadline: float = Field(30.0, gt=0)            # from the complete body to the response
    upload_deadline: float = Field(30.0, gt=0)     # from the head of a request to its complete body
    drain: float = Field(30.0, ge=0)               # from SIGTERM to the last response
    tls_cert: Path | None = None                   # PEM files of both ports; None: no TLS
    tls_key: Path | None = None
    token: SecretStr | None = None
    admin_token: SecretStr | None = None           # of requests that load and unload models; None: there are none
    explain: bool = True                           # whether /v1/explain is served
    cors: tuple[Origin, ...] = ()                  # "*": any
    allow_host: tuple[HostName, ...] = ()          # of the Host header; empty: any
    shadow: Annotated[str, StringConstraints(pattern=r"^([^=]+=[^=]+)?$")] = ""    # FIRST=SECOND, of the served models
    shadow_fraction: float = Field(0.05, gt=0, le=1)           # of the first model's images
    otlp: Annotated[str, AfterValidator(_check_url)] = ""    # of traces
    log: Literal["json", "off"] = "off"
    facts: FileFacts = FileFacts()                 # about models that are weights files

    @model_validator(mode="after")
    def _check(self) -> ServeSettings:
        if not self.models and self.folder is None:
            raise ValueError("no model")
        return self

    @cached_property                               # read for every request; counting CPUs reads files
    def capacity(self) -> int:
        """The limit on images in the queue and in work."""
        return self.queue or default_queue(available_cpus())

    @property
    def images_per_request(self) -> int:
        """The limit on images of one request; more than ``capacity`` would never be admitted."""
        return min(self.max_images, self.capacity)

    @property
    def limits(self) -> Limits:
        """The limits of an image; the memory is that of the most pixels in most formats."""
        return Limits(self.max_pixels, self.max_bytes, self.image_seconds, 7 * self.max_pixels + 64 * MiB)

    @property
    def max_held_bytes(self) -> int:
        """The limit on bytes of all bodies held at a time: eight of the largest."""
        return 8 * self.max_bytes


def default_queue(cpus: int) -> int:
    """Return the default of ``queue``."""
    return max(64, 16 * cpus)


def make_settings(values: dict[str, Any]) -> ServeSettings:
    """Validate settings. Raises ConfigError."""
    return validated(ServeSettings, values, "wrn serve")


def read_file(file: Path) -> dict[str, Any]:
    """Read options from a YAML file; values are not checked. Raises ConfigError."""
    options = read_yaml(file) or {}
    if not isinstance(options, dict):
        raise ConfigError(f"no settings in {file}", hint="write a line such as 'port: 9000'")
    return options


def read_token(file: Path) -> str:
    """Read a bearer token from a file, without surrounding white space. Raises ConfigError."""
    with errors_as((OSError, UnicodeDecodeError), ConfigError, f"cannot read the token file {file}"):
        token = read_text(file, "ascii").strip()
    return check_token(token, f"the token file {file}")


def check_token(token: str, origin: str) -> str:
    """Return ``token``. Raises ConfigError, naming ``origin``, for one that no client could send."""
    if not re.fullmatch("[!-~]+", token):
        fault = "is empty" if not token else "contains white space, control or non-ASCII characters"
        raise ConfigError(f"{origin} {fault}", hint="'openssl rand -hex 32' makes a token")
    return token
