"""``wrn serve``"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from wideresnet.cli.checks import check_engine, check_unused, is_set
from wideresnet.cli.cluster import quieten
from wideresnet.cli.complete import model_names
from wideresnet.cli.groups import FileOptions, with_groups
from wideresnet.cli.options import MODEL, Alpha, EngineName, InferenceDevice, Precision, Threads
from wideresnet.cli.streams import say
from wideresnet.errors import ConfigError, did_you_mean, needs_extra

PREFIX = "WRN_SERVE"                               # of the environment variables: WRN_SERVE_PORT=9000


def _read(context: typer.Context, file: Path | None) -> Path | None:
    """Take the defaults of all options from a YAML file. Raise ConfigError for an unknown key."""
    if file is None:
        return None
    from wideresnet.serve.settings import read_file

    settings = read_file(file)
    options = {item.name: item for item in context.command.params if item.name not in (None, "config")}
    for key, value in settings.items():
        if key not in options:
            raise ConfigError(f"{file}: no setting called {key!r}", hint=did_you_mean(str(key), options))
        if options[key].multiple and not isinstance(value, list):
            settings[key] = [value]
        elif isinstance(value, bool | float):      # read as on the command line: else yes is 1 image, and 1.9, too
            settings[key] = str(value)
    context.default_map = settings
    return file


Models = Annotated[
    list[str],
    typer.Option(
        "--model", "-m", help="A model as for the other commands, or NAME=MODEL; repeatable.",
        autocompletion=model_names,
    ),
]  # fmt: skip
Config = Annotated[
    Path | None, typer.Option(is_eager=True, callback=_read, help="A YAML file of these options (max_bytes: 1000000).")
]
GrpcPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="A port for gRPC; 0: any free one. Default: HTTP only.")
]
TlsCert = Annotated[Path | None, typer.Option(help="Speak TLS on all ports: a certificate with its chain, PEM.")]
TlsKey = Annotated[Path | None, typer.Option(help="The key of --tls-cert, PEM.")]
Streams = Annotated[
    int | None,
    typer.Option(min=0, help="Batches computed in parallel; 0: the engine chooses. Default: as tuned, else by size."),
]
Ray = Annotated[
    str, typer.Option(help="Serve on the Ray cluster at HOST:PORT, auto (this machine's) or local (a new one).")
]
Explain = Annotated[
    bool, typer.Option("--explain/--no-explain", help="Serve /v1/explain; its first request reopens the model.")
]

Shadow = Annotated[
    str, typer.Option(help="Names of two models: the second is asked about a sample of the first's images (/shadow).")
]
ShadowFraction = Annotated[float, typer.Option(help="With --shadow: the sample, a fraction of the images.")]

Otlp = Annotated[str, typer.Option(help="Send traces to the OpenTelemetry collector at this URL (extra tracing).")]


@with_groups
def serve(
    context: typer.Context,
    model: Models = [MODEL],  # noqa: B006
    models: Annotated[
        Path | None,
        typer.Option(help="A folder of bundles, or of folders with versions of a bundle (1, 2, 3); -m adds others."),
    ] = None,
    versions: Annotated[int, typer.Option(min=1, max=256, help="With --models: the newest N versions.")] = 1,
    poll: Annotated[float, typer.Option(min=0, help="With --models: seconds between scans of it; 0: never.")] = 5.0,
    config: Config = None,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0: all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any free one.")] = 8000,
    grpc_port: GrpcPort = None,
    queue: Annotated[int, typer.Option(min=0, help="Maximum images in the server; 0: 16 per CPU, at least 64.")] = 0,
    max_bytes: Annotated[int, typer.Option(min=1, help="Maximum bytes of a request body.")] = 32 * 2**20,
    max_pixels: Annotated[int, typer.Option(min=1, help="Maximum pixels of an image.")] = 2**26,
    image_seconds: Annotated[float, typer.Option(help="Maximum seconds to decode an image.")] = 5.0,
    max_images: Annotated[int, typer.Option(min=1, help="Maximum images of a request.")] = 64,
    deadline: Annotated[float, typer.Option(help="Seconds from the complete body to the answer.")] = 30.0,
    upload_deadline: Annotated[float, typer.Option(help="Seconds for the upload of a body.")] = 30.0,
    drain: Annotated[float, typer.Option(min=0, help="Seconds from SIGTERM to the last answer.")] = 30.0,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    token_file: Annotated[Path | None, typer.Option(help="Require the bearer token in this file.")] = None,
    admin_token_file: Annotated[
        Path | None, typer.Option(help="Load and unload models for clients with the bearer token in this file.")
    ] = None,
    cors: Annotated[list[str], typer.Option(help="An origin whose pages may send requests; repeatable.")] = [],  # noqa: B006
    allow_host: Annotated[list[str], typer.Option(help="A Host header to accept; repeatable. Default: any.")] = [],  # noqa: B006
    explain: Explain = True,
    shadow: Shadow = "",
    shadow_fraction: ShadowFraction = 0.05,
    otlp: Otlp = "",
    alpha: Alpha = None,
    engine: EngineName = "openvino",
    precision: Precision = "f32",
    workers: Annotated[int, typer.Option(min=1, help="Processes, which divide the threads among them.")] = 1,
    threads: Threads = 0,
    streams: Streams = None,
    device: InferenceDevice = "cpu",
    log: Annotated[Literal["json", "off"], typer.Option(help="json: one line per request on stderr.")] = "off",
    ray: Ray = "",
    replicas: Annotated[str, typer.Option(help="With --ray: N replicas, or MIN:MAX to scale with the load.")] = "1",
    cpus: Annotated[int, typer.Option(min=1, help="With --ray: CPUs per replica.")] = 1,
    *,
    files: FileOptions,
) -> None:
    """Serve models over HTTP: a page at /, /v1/classify, the Open Inference Protocol under /v2, /metrics, /docs.

    With --grpc-port the Open Inference Protocol is served over gRPC as well, within the same limits.

    Each option is also an environment variable (WRN_SERVE_PORT=9000) and a key of the --config file; options take
    precedence over the environment, and the environment over the file. WRN_SERVE_TOKEN and WRN_SERVE_ADMIN_TOKEN may
    hold the bearer tokens.
    SIGHUP reloads the models and the certificate, SIGTERM exits after the last answer. Exit code 1: some requests were
    left unanswered.
    With --ray the service runs in replicas behind Ray Serve's proxy: docs/scale.md lists the differences.

    Example: wrn serve

    Example: wrn serve -m wide_resnet50_2.tv_in1k -m fast=wrn-int8/ --port 9000 --log json

    Example: wrn serve --models /srv/models --poll 10
    """
    with needs_extra("wrn serve", "serve"):
        from wideresnet.serve.run import serve as run
        from wideresnet.serve.workers import serve_in_workers
    check_engine(engine)
    from wideresnet.serve.settings import ServeSettings, make_settings

    check_unused(context, models is None, "without --models", "poll", "versions")
    check_unused(context, engine != "openvino", "without the engine openvino", "streams")
    check_unused(context, not shadow, "without --shadow", "shadow_fraction")
    check_unused(context, bool(ray), "with --ray", "shadow", "otlp", "tls_cert", "tls_key", "workers")
    check_unused(context, workers > 1, "with several --workers", "shadow", "admin_token_file")
    check_unused(context, tls_cert is None, "without --tls-cert", "tls_key", hint="add --tls-cert FILE")
    check_unused(context, tls_key is None, "without --tls-key", "tls_cert", hint="add --tls-key FILE")
    check_unused(context, bool(ray), "with --ray", "models", "admin_token_file", hint="name the models with -m")
    token, admin_token = _read_token("TOKEN", token_file), _read_token("ADMIN_TOKEN", admin_token_file)
    if admin_token and (ray or workers > 1):
        option = "--ray" if ray else "several --workers"
        raise ConfigError(f"the admin token has no effect with {option}", hint=f"unset {PREFIX}_ADMIN_TOKEN")
    if admin_token and admin_token == token:
        raise ConfigError("the admin token is that of all clients", hint="'openssl rand -hex 32' makes another")
    _check_environment(context)
    options = {name: value for name, value in context.params.items() if name in ServeSettings.model_fields}
    write = partial(say, err=True)
    choices = model if models is None or is_set(context, "model") else []
    tokens = {"token": token, "admin_token": admin_token}
    settings = make_settings({**options, **tokens, "models": choices, "folder": models, "facts": files.facts()})
    if ray:
        from wideresnet.cluster.ray_serve import parse_replicas, serve_on_ray

        if grpc_port is not None:
            raise ConfigError("--grpc-port does not work with --ray", hint="leave out --grpc-port: replicas serve HTTP")
        quieten()
        raise typer.Exit(0 if serve_on_ray(settings, parse_replicas(ray, replicas, cpus), write) else 1)
    if (replicas, cpus) != ("1", 1):
        raise ConfigError("--replicas and --cpus are for a cluster", hint="--ray local makes one on this machine")
    raise typer.Exit(0 if (serve_in_workers if workers > 1 else run)(settings, write) else 1)


def _read_token(name: str, file: Path | None) -> str | None:
    """Return the token of a file, or of the environment variable of this name. Raises ConfigError."""
    from wideresnet.serve.settings import check_token, read_token

    if file:
        return read_token(file)
    variable = os.environ.get(f"{PREFIX}_{name}")
    return None if variable is None else check_token(variable, f"{PREFIX}_{name}")


def _check_environment(context: typer.Context) -> None:
    """Raise ConfigError for an environment variable that looks like an option and is none."""
    variables = [f"{PREFIX}_{parameter.name.upper()}" for parameter in context.command.params if parameter.name]
    for name in os.environ:
        if name.startswith(f"{PREFIX}_") and name not in (*variables, f"{PREFIX}_TOKEN", f"{PREFIX}_ADMIN_TOKEN"):
            raise ConfigError(f"{name} is no option of 'wrn serve'", hint=did_you_mean(name, variables) or "unset it")
