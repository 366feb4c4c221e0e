"""Help of the commands at 80 columns: options in groups, paragraphs filled, examples as lines that can be copied."""

from __future__ import annotations

import inspect
from typing import Any

from typer.core import TyperCommand, TyperGroup

from wideresnet.cli.checks import check_empty, check_outputs, check_renamed
from wideresnet.precision import precision_name
from wideresnet.report.escape import shell_lines

OPTIONS = "Options"
NO_BREAK, HYPHEN = "\xa0", "\u2011"               # where lines are not broken; neither is printed
# The group of every option, and what stands for its value where that is no choice.
GROUPS = {
    "Model": "--model=MODEL --models=FOLDER --versions=N --poll=SECONDS --from=MODEL --weights=FILE --random-weights"
        " --architecture=NAME --labels=FILE --classes=N --resolution=PIXELS --input-shape=SHAPE --cascade=CASCADE",
    "Input": "--data=DATA --images=FOLDER --labels-file=FILE --results=FILE --outputs=FOLDER --limit=N --shard=I/N"
        " --test=FOLDER --val-fraction=FRACTION --cache=FOLDER --extract=FOLDER --alpha --transform --apply-exif"
        " --ignore-exif --fast-decode --dedupe",
    "Calibration": "--calibration=DATA --samples=N --estimator --bank=IMAGES --sets --per-class --unknown-method"
        " --refuse=PERCENT",
    "Accuracy": "--gate=POINTS --min-agreement=PERCENT --search --budget=MINUTES --max-drop=POINTS --published"
        " --tolerance=POINTS --skip-order-check --accuracy=PERCENT",
    "Measurement": "--what=WHAT --seconds=SECONDS --rounds=N --iterations=N --profile --tune --latency=MS --rate=N"
        " --bench=FILE",
    "Settings": "--mode --config=FILE --set=KEY=VALUE --seed=N --seeds=N --dry-run --list",
    "Requests": "--host=ADDRESS --port=PORT --grpc-port=PORT --queue=N --max-bytes=BYTES --max-pixels=PIXELS"
        " --max-images=N --image-seconds=SECONDS --deadline=SECONDS --upload-deadline=SECONDS --drain=SECONDS"
        " --token-file=FILE --admin-token-file=FILE --tls-cert=FILE --tls-key=FILE --cors=ORIGIN --allow-host=HOST"
        " --explain --shadow=FIRST=SECOND --shadow-fraction=FRACTION --otlp=URL --log",
    "Output": "--output=PATH --format --rows --top-k=N --coverage=PERCENT --class=CLASS --lang --layer=NAMES --pool"
        " --dtype --storage --signed --report=FILE --folders=FOLDER --tensorboard --resume",
    "Speed": "--engine=NAMES --precision=NAMES --device=cpu --workers=N --threads=N --streams=N --batch-size=N"
        " --infer-mode",
    "Cluster (docs/scale.md)": "--ray=ADDRESS --replicas=N --cpus=N --shard-size=N",
    "Facts that a weights file may not state (docs/weights.md)":
        "--normalise=NAME --which=NAME --activation=NAME --bn-eps=NUMBER --shortcut=NAME --stride-on=NAME"
        " --padding=NAME --final-pool=NAME",
    OPTIONS: "--version --install-completion --show-completion --help",
}  # fmt: skip
OPTION_GROUPS = {
    name: (group, metavar or "VALUE")
    for group, options in GROUPS.items()
    for name, _, metavar in (option.partition("=") for option in options.split())
}


class _Help:
    """The help of commands and groups."""

    def format_help_text(self: Any, context: Any, formatter: Any) -> None:
        """Write the paragraphs filled, and the examples as shell lines, broken with a backslash where they are long."""
        formatter.write_paragraph()
        examples = []
        for paragraph in _paragraphs(self.help):
            if paragraph.startswith("Example: "):
                examples.append(paragraph.removeprefix("Example: ").replace(HYPHEN, "-"))
            else:
                formatter.write_text(paragraph)
                formatter.write_paragraph()
        formatter.buffer.pop()
        if examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for example in examples for line in shell_lines(example)))

    def format_options(self: Any, context: Any, formatter: Any) -> None:
        """Write sections: the arguments, the groups of options in the order of ``GROUPS``, and the commands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        order = {name: number for number, name in enumerate(OPTION_GROUPS)}
        for parameter in sorted(self.get_params(context), key=lambda item: order.get(_known_name(item), -1)):
            title, _ = OPTION_GROUPS.get(name := _known_name(parameter), (OPTIONS if name else "Arguments", ""))
            if not parameter.hidden:
                sections.setdefault(title, []).append((_names(parameter), _text(parameter, context)))
        if isinstance(self, TyperGroup):
            sections["Commands"] = [(name, _paragraphs(command.help)[0]) for name, command in self.commands.items()]
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
        formatter.buffer[:] = [text.replace(NO_BREAK, " ").replace(HYPHEN, "-") for text in formatter.buffer]


class Command(_Help, TyperCommand):
    """A command with this help, which refuses empty strings, names of earlier versions and inputs as outputs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse ``args`` into ``ctx``. Raises ConfigError."""
        check_renamed(self, args)
        check_empty(self, ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises ConfigError where a file to write is one to read."""
        if self.name != "export":                  # which says what its weights files replace
            check_outputs(ctx)
        return super().invoke(ctx)

    def collect_usage_pieces(self, context: Any) -> list[str]:
        """Return the words of the usage line behind the name of the command."""
        arguments = [item for item in self.get_params(context) if item.param_type_name == "argument"]
        return ["[OPTIONS]", *(_names(item) if item.required else f"[{_names(item)}]" for item in arguments)]


class Group(_Help, TyperGroup):
    """A group of commands with this help."""


def _paragraphs(text: str | None) -> list[str]:
    paragraphs = inspect.cleandoc(text or "").replace("-", HYPHEN).split("\n\n")
    return [" ".join(paragraph.split()) for paragraph in paragraphs]


def _known_name(parameter: Any) -> str:
    """Return the name of an option in ``GROUPS``: its first long one; "" for an argument."""
    return next((name for name in parameter.opts if name.startswith("--")), "")


def _names(parameter: Any) -> str:
    """Return the names of a parameter, and its choices or what stands for its value."""
    if parameter.param_type_name == "argument":
        return f"{parameter.display_name_raw.upper()}{'...' if parameter.nargs != 1 else ''}"
    names = ", ".join(sorted(parameter.opts, key=lambda name: name.startswith("--")))
    if parameter.is_flag:
        return " / ".join([names, *parameter.secondary_opts])
    _, metavar = OPTION_GROUPS.get(_known_name(parameter), (OPTIONS, "VALUE"))
    return f"{names} {'|'.join(map(precision_name, parameter.type_descriptor.choices or [metavar]))}"


def _text(parameter: Any, context: Any) -> str:
    """Return the help of a parameter with its default."""
    default = parameter.show_default
    if default is True:
        value = parameter.get_default(context, call=False)
        values = value if isinstance(value, list | tuple) else [value]
        default = ", ".join(f"{item:g}" if isinstance(item, float) else str(precision_name(item)) for item in values)
        if value is None or isinstance(value, bool):
            default = _known_name(parameter).lstrip("-") if value and parameter.secondary_opts else ""
    notes = [f"[default:{NO_BREAK}{default}]"] if default else ["[required]"] if parameter.required else []
    return " ".join([parameter.help or "", *notes]).replace("-", HYPHEN)
