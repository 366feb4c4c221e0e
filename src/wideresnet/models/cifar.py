"""WRN-n-k for 32×32 images: the paper's Table 1."""

from __future__ import annotations

from torch import Tensor, nn

from wideresnet.architectures import Architecture
from wideresnet.layers import Block
from wideresnet.models.blocks import BasicWide, conv3x3, relu, wide_dropout


class CifarWideResNet(nn.Module):
    """3×3 stem, three stages of pre-activation blocks, BN-ReLU, global average, linear."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        stages: dict[str, list[nn.Module]] = {"layer1": [], "layer2": [], "layer3": []}
        for shape in architecture.blocks():
            stages[shape.name.partition(".")[0]].append(_block(shape, architecture.dropout))
        self.conv1 = conv3x3(3, architecture.stem)
        self.layer1 = nn.Sequential(*stages["layer1"])
        self.layer2 = nn.Sequential(*stages["layer2"])
        self.layer3 = nn.Sequential(*stages["layer3"])
        self.bn = nn.BatchNorm2d(architecture.features)
        self.fc = nn.Linear(architecture.features, architecture.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float RGB [N, 3, S, S] (S = 32 in the paper) -> logits [N, classes]."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        x = relu(self.bn(x)).mean((2, 3))
        logits: Tensor = self.fc(x)
        return logits


def _block(shape: Block, dropout: float) -> BasicWide:
    return wide_dropout(shape, dropout) if dropout else BasicWide(shape)
