"""What people write first: FastAPI, Pillow and eager PyTorch in a plain endpoint. For measure.py to compare with.

The network has fresh weights: speed does not depend on them.
"""

from __future__ import annotations

import os

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

import wideresnet

ARCHITECTURE, RESIZE, CROP = os.environ["ARCHITECTURE"], int(os.environ["RESIZE"]), int(os.environ["CROP"])
CLASSES = int(os.environ["CLASSES"])
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

app = FastAPI()
model = wideresnet.create_model(ARCHITECTURE, num_classes=CLASSES).eval()


def transform(image: Image.Image) -> torch.Tensor:
    """float32 [3, CROP, CROP]: the shorter side to RESIZE, the middle cut out, normalised."""
    scale = RESIZE / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    x, y = (image.width - CROP) // 2, (image.height - CROP) // 2
    pixels = np.array(image.crop((x, y, x + CROP, y + CROP)))
    return (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - MEAN) / STD


@app.post("/predict")
def predict(file: UploadFile) -> list[dict[str, float]]:
    """The five likeliest classes."""
    batch = transform(Image.open(file.file).convert("RGB")).unsqueeze(0)
    with torch.inference_mode():
        probabilities, classes = model(batch).softmax(1)[0].topk(5)
    return [{"class": c, "probability": p} for c, p in zip(classes.tolist(), probabilities.tolist(), strict=True)]


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="error")
