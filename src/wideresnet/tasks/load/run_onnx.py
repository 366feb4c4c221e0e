"""The process in which an ONNX file of another tool runs: images from stdin, logits to stdout, both as .npy.

Its graph may be anything: it can crash this process, whose time and memory are limited, but not that of the user.
"""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import BundleError

SECONDS = 120
ADDRESSES = 8 << 30                                # bytes of address space, in addition to four times the model


def run_onnx(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits of float32 [N, 3, S, S] in a process of its own. Raises BundleError."""
    content = io.BytesIO()
    np.save(content, images)
    command = [sys.executable, "-m", __spec__.name, str(path)]
    try:
        done = subprocess.run(command, input=content.getvalue(), capture_output=True, timeout=SECONDS, check=True)
        return np.asarray(np.load(io.BytesIO(done.stdout)), np.float32)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lines = (error.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        raise BundleError(f"{path} cannot be run: {lines[-1] if lines else error}") from error


def _main() -> None:
    import openvino as ov

    path = Path(sys.argv[1])
    with suppress(ImportError):                    # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES + 4 * path.stat().st_size, resource.RLIM_INFINITY))
    # With few threads, since each reserves addresses.
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 4})
    # One image at a time: most exports have a fixed batch of 1.
    logits = np.concatenate([compiled(image[None])[0] for image in np.load(io.BytesIO(sys.stdin.buffer.read()))])
    np.save(sys.stdout.buffer, logits)


if __name__ == "__main__":
    _main()
