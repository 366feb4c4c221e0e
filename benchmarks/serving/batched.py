"""LitServe with its batching, over eager PyTorch or over this package's classifier. For measure.py to compare with.

BACKEND is "torch" (fresh weights: speed does not depend on them) or "wideresnet" (MODEL as for ``wrn serve``).
"""

import os
from typing import Any

import litserve
import numpy as np
from fastapi import Request
from PIL import Image

import wideresnet


class Torch(litserve.LitAPI):
    """Pillow and eager PyTorch, a batch at a time."""

    def setup(self, device: str) -> None:
        """Load the model."""
        from eager import model, transform

        self.model, self.transform = model, transform

    def decode_request(self, request: Request) -> Any:
        """A form with an image -> float32 [3, S, S]"""
        return self.transform(Image.open(request["file"].file).convert("RGB"))

    def predict(self, batch: Any) -> list[list[float]]:
        """float32 [N, 3, S, S] -> the five likeliest of each"""
        import torch

        with torch.inference_mode():
            return self.model(batch).softmax(1).topk(5).values.tolist()

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        """See LitServe."""
        return {"probabilities": output}


class Ours(Torch):
    """The same with this package's preprocessing and engine."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.classifier = wideresnet.load(os.environ["MODEL"])

    def decode_request(self, request: Request) -> Any:
        """A form with an image -> uint8 [S, S, 3]"""
        return self.classifier.preprocess(request["file"].file.read(), "transpose")

    def batch(self, inputs: Any) -> Any:
        """See LitServe."""
        return np.stack(inputs)

    def predict(self, batch: Any) -> list[list[float]]:
        """uint8 [N, S, S, 3] -> the five likeliest of each"""
        return np.sort(self.classifier.logits(batch))[:, -5:].tolist()


if __name__ == "__main__":
    api = {"torch": Torch, "wideresnet": Ours}[os.environ["BACKEND"]]
    server = litserve.LitServer(
        api(max_batch_size=8, batch_timeout=0.02), accelerator="cpu", workers_per_device=1, timeout=300
    )
    server.run("127.0.0.1", int(os.environ["PORT"]), log_level="error", generate_client_file=False)
