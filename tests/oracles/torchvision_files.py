"""Small files in the on-disk formats of torchvision's data sets, written without torchvision."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import scipy.io


def idx(folder: Path, images: np.ndarray, labels: np.ndarray, part: str) -> None:
    """MNIST and Fashion-MNIST: the idx format, uncompressed, under <root>/<Class>/raw."""
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">I", 0x0803) + struct.pack(">3I", *images.shape)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(
        struct.pack(">2I", 0x0801, len(labels)) + labels.tobytes()
    )


def cifar(
    root: Path, batches: list[tuple[np.ndarray, list[int]]], test: tuple[np.ndarray, list[int]]
) -> dict[str, str]:
    """CIFAR-10: pickled batches of rows (red, green, blue planes). Returns the md5 of every file."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    content = {f"data_batch_{i}": {"data": x, "labels": y} for i, (x, y) in enumerate(batches, start=1)}
    content["test_batch"] = {"data": test[0], "labels": test[1]}
    content["batches.meta"] = {
        "label_names": ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    }
    sums = {}
    for name, entry in content.items():
        data = pickle.dumps(entry)
        (folder / name).write_bytes(data)
        sums[name] = hashlib.md5(data).hexdigest()
    return sums


def svhn(root: Path, images: np.ndarray, labels: np.ndarray, part: str) -> str:
    """SVHN: a MATLAB file with X (32, 32, 3, n) and y (n, 1), the digit 0 labelled 10. Returns its md5."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{part}_32x32.mat"
    scipy.io.savemat(path, {"X": images, "y": labels[:, None]})
    return hashlib.md5(path.read_bytes()).hexdigest()
