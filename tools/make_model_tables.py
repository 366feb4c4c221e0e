"""Write the tables of models from the code: docs/models.md, and one table in README.md and README.zh-CN.md.

``python tools/make_model_tables.py`` writes; a test compares, so that no figure is ever copied by hand.
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

Written by `make docs` from `architectures.py` and `weights/catalogue.py`; `wrn models` prints the same.

- **parameters** are what is trained: running statistics of batch norms are not among them.
- **MACs** are the multiply-accumulates of convolutions and classifier for one image. FLOPs = 2 × MACs.
- **thop** is what the tool of that name counts: MACs + 4 × the elements that pass a batch norm.

## Published weights

What the publishers printed, first their own figure. Nothing in this table was measured here.

{weights}

## ImageNet architectures

1000 classes, 224 pixels a side. The last column is what the paper (arXiv 1605.07146v4) printed for its own
trainings; those tensors are not among the published weights above.

{imagenet}

## WRN-n-k for 32×32 images

Any `wrn_N_K` with N = 6·n + 4 works; these are the ones the paper names.

{cifar}
"""


def main() -> None:
    """Write all three files anew."""
    for name, text in pages().items():
        (ROOT / name).write_text(text, "utf-8")


def pages() -> dict[str, str]:
    """Path below the repository -> what the file should hold."""
    texts = {name: (ROOT / name).read_text("utf-8") for name in README_HEADS}
    readmes = {name: with_table(text, README_HEADS[name]) for name, text in texts.items()}
    return {**readmes, "docs/models.md": models_page()}


def with_table(text: str, heads: Sequence[str]) -> str:
    """``text`` with the table between its two marks written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [weights_row(weights, weights.published[:1]) for weights in CATALOGUE.values()]
    return f"{before}{BEGIN}\n{table(heads, rows)}\n{END}{after}"


def models_page() -> str:
    """The whole of docs/models.md."""
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
    """One published set of weights."""
    architecture, size = get_architecture(weights.architecture), weights.preprocess.crop
    return (
        f"`{weights.name}`",
        f"{architecture.parameters():,}",
        str(size),
        *counts(architecture, size),
        "; ".join(map(accuracy, published)),
        "; ".join(each.source for each in published),
    )


def imagenet_row(architecture: Architecture) -> tuple[str, ...]:
    """One ImageNet architecture, with the paper's accuracy where it gave one."""
    paper = PAPER.get(architecture.name)
    # The paper printed errors with one or two digits; more here would be made up.
    printed = (f"{100 * paper.top1:.4g} / {100 * paper.top5:.4g}", paper.source) if paper else ("", "")
    return f"`{architecture.name}`", f"{architecture.parameters():,}", *counts(architecture, 224), *printed


def cifar_row(architecture: Architecture) -> tuple[str, ...]:
    """One WRN-n-k, with the parameters of its 10-class and 100-class networks."""
    parameters = [get_architecture(architecture.name, classes).parameters() for classes in (10, 100)]
    return f"`{architecture.name}`", *(f"{n:,}" for n in parameters), *counts(architecture, 32)


def counts(architecture: Architecture, size: int) -> tuple[str, str]:
    """MACs and thop's figure in units of 10⁹, as ``11.398 G``."""
    return f"{architecture.macs(size) / 1e9:.3f} G", f"{architecture.thop_macs(size) / 1e9:.3f} G"


def accuracy(published: Published) -> str:
    """Top-1 and top-5 in percent with the three digits that are printed."""
    return f"{100 * published.top1:.3f} / {100 * published.top5:.3f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
