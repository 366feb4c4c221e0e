"""Post-activation ImageNet networks with torchvision's names: bottleneck WRN-50-2 and 101-2, basic WRN-18/34-k."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from wideresnet.architectures import Architecture
from wideresnet.models.blocks import Basic, Bottleneck, relu


class ImageNetWideResNet(nn.Module):
    """7×7 stem and max pool, four stages of blocks, global average, linear."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        block = {"basic": Basic, "bottleneck": Bottleneck}[architecture.block]
        stages: dict[str, list[nn.Module]] = {"layer1": [], "layer2": [], "layer3": [], "layer4": []}
        for shape in architecture.blocks():
            stages[shape.name.partition(".")[0]].append(block(shape))
        self.conv1 = nn.Conv2d(3, architecture.stem, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(architecture.stem)
        self.layer1 = nn.Sequential(*stages["layer1"])
        self.layer2 = nn.Sequential(*stages["layer2"])
        self.layer3 = nn.Sequential(*stages["layer3"])
        self.layer4 = nn.Sequential(*stages["layer4"])
        self.fc = nn.Linear(architecture.features, architecture.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float RGB [N, 3, S, S] (S = 224 as published) -> logits [N, classes]."""
        x = relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))
        logits: Tensor = self.fc(x)
        return logits
