"""Write the tables of models from the code: docs/models.md, and one table in README.md and README.zh-CN.md.

``python tools/make_model_tables.py`` writes; a test compares, so that no figure is copied by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wideresnet.architectures import ARCHITECTURES, Architecture, get_architecture
from wideresnet.records import Published
from wideresnet.weights.catalogue import CATALOGUE, PAPER, Weights

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- models: written by 'make docs' -->", "<!-- /models -->"

README_HEADS = {
    "README.md": ("weights", "parameters", "pixels", "MACs", "thop", "top-1 / top-5, published", "source"),
    "README.zh-CN.md": ("权重", "参数量", "输入边长", "MACs", "thop 口径", "公开的 top-1 / top-5", "出处"),
}

MODELS_PAGE = """# All networks

Written by `make docs` from `architectures.py` and `weights/catalogue.py`; `wrn models` prints most of it.

- **parameters** are the trained values; the running statistics of batch norms are not counted.
- **MACs** are the multiply-accumulate operations of convolutions and classifier for one image. FLOPs = 2 × MACs.
- **thop** is the count of the tool of that name: MACs + 4 × the elements that pass through batch norms.

## Published weights

Accuracies as stated by others, beginning with the publisher of the weights. None of them was measured here.

{weights}

## ImageNet architectures

1000 classes, 224 pixels per side. The accuracies are those of the paper (arXiv 1605.07146v4) for its own trainings;
those weights are not among the published ones above.

{imagenet}

## WRN-n-k for 32×32 images

Any `wrn_N_K` with N = 6·n + 4 works; the table lists those named in the paper.

{cifar}
"""


def main() -> None:
    """Write the three files."""
    for name, text in pages().items():
        (ROOT / name).write_text(text, "utf-8")


def pages() -> dict[str, str]:
    """Return the content of each file by its path in the repository."""
    texts = {name: (ROOT / name).read_text("utf-8") for name in README_HEADS}
    readmes = {name: with_table(text, README_HEADS[name]) for name, text in texts.items()}
    return {**readmes, "docs/models.md": models_page()}


def with_table(text: str, heads: Sequence[str]) -> str:
    """Return ``text`` with a new table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [weights_row(weights, weights.published[:1]) for weights in CATALOGUE.values()]
    return f"{before}{BEGIN}\n{table(heads, rows)}\n{END}{after}"


def models_page() -> str:
    """Return the content of docs/models.md."""
    imagenet = [a for a in ARCHITECTURES.values() if a.family == "imagenet"]
    cifar = [a for a in ARCHITECTURES.values() if a.family == "cifar"]
    return MODELS_PAGE.format(
        weights=table(README_HEADS["README.md"], [weights_row(w, w.published) for w in CATALOGUE.values()]),
        imagenet=table(
            ("name", "parameters", "MACs", "thop", "top-1 / top-5", "source"), map(imagenet_row, imagenet)
        ),
        cifar=table(("name", "parameters, 10 classes", "100 classes", "MACs", "thop"), map(cifar_row, cifar)),
    )


def weights_row(weights: Weights, published: Sequence[Published]) -> tuple[str, ...]:
    """Return the cells of one published set of weights."""
    architecture, size = get_architecture(weights.architecture), weights.preprocess.crop
    return (
        f"`{weights.name}`",
        f"{architecture.parameters():,}",
        str(size),
        *counts(architecture, size),
        "; ".join(map(percentages, published)),
        "; ".join(accuracy.source for accuracy in published),
    )


def imagenet_row(architecture: Architecture) -> tuple[str, ...]:
    """Return the cells of one ImageNet architecture, with the paper's accuracy if it has one."""
    paper = PAPER.get(architecture.name)
    # The paper prints errors with one or two digits; more would be made up.
    printed = (f"{100 * paper.top1:.4g} / {100 * paper.top5:.4g}", paper.source) if paper else ("", "")
    return f"`{architecture.name}`", f"{architecture.parameters():,}", *counts(architecture, 224), *printed


def cifar_row(architecture: Architecture) -> tuple[str, ...]:
    """Return the cells of one WRN-n-k, with the parameters for 10 and for 100 classes."""
    parameters = [get_architecture(architecture.name, classes).parameters() for classes in (10, 100)]
    return f"`{architecture.name}`", *(f"{n:,}" for n in parameters), *counts(architecture, 32)


def counts(architecture: Architecture, size: int) -> tuple[str, str]:
    """Return MACs and thop's count in units of 10⁹: ``11.398 G``."""
    return f"{architecture.macs(size) / 1e9:.3f} G", f"{architecture.thop_macs(size) / 1e9:.3f} G"


def percentages(published: Published) -> str:
    """Return top-1 and top-5 in percent with three digits, as publishers state them."""
    return f"{100 * published.top1:.3f} / {100 * published.top5:.3f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
