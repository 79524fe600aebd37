"""digits, which comes with scikit-learn, and the sets that come through torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agop._checks import bad_value
from agop.datasets.dataset import Raw
from agop.datasets.source import Source

DIGITS_TRAIN = 1400
"""Training points of the fixed digits split; the other 397 are the test set."""


def digits(root: Path, download: bool, seed: int) -> Raw:
    """The 1,797 8×8 digits of scikit-learn: a fixed stratified split, the same on every machine."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    images = x.reshape(-1, 8, 8).astype(np.float32)  # grey values 0..16: exact in float32
    x_train, x_test, y_train, y_test = train_test_split(
        images, y, train_size=DIGITS_TRAIN, stratify=y, random_state=0
    )
    return Raw(x_train, y_train, x_test, y_test)


def mnist(root: Path, download: bool, seed: int) -> Raw:
    """MNIST, 28×28 grey images in the order of the files."""
    return _two_parts("mnist", "MNIST", root, download)


def fashion_mnist(root: Path, download: bool, seed: int) -> Raw:
    """Fashion-MNIST, 28×28 grey images in the order of the files."""
    return _two_parts("fashion-mnist", "FashionMNIST", root, download)


def cifar10(root: Path, download: bool, seed: int) -> Raw:
    """CIFAR-10, 32×32×3 colour images in the order of the files."""
    return _two_parts("cifar10", "CIFAR10", root, download)


def svhn(root: Path, download: bool, seed: int) -> Raw:
    """SVHN cropped digits, 3×32×32 colour images in the order of the files; label 0 is the digit 0."""
    return _two_parts("svhn", "SVHN", root, download)


def _two_parts(name: str, class_name: str, root: Path, download: bool) -> Raw:
    try:
        from torchvision import datasets
    except ImportError:
        raise bad_value(
            "data", "torchvision for this data set", f"{name!r} without it", "pip install 'agop[vision]'"
        ) from None
    factory = getattr(datasets, class_name)
    parts = []
    for train in (True, False):
        which: dict[str, Any] = (
            {"split": "train" if train else "test"} if class_name == "SVHN" else {"train": train}
        )
        parts.append(_open(factory, name, root, download, which))
    (x_train, y_train), (x_test, y_test) = ((np.asarray(p.data), np.asarray(_labels(p))) for p in parts)
    names = getattr(parts[0], "classes", None)
    return Raw(x_train, y_train, x_test, y_test, tuple(names) if names else None)


def _open(factory: Any, name: str, root: Path, download: bool, which: dict[str, Any]) -> Any:
    try:
        return factory(str(root), download=download, **which)
    except (RuntimeError, OSError, ValueError, EOFError, AssertionError, ImportError) as error:
        # How torchvision reports a missing file, a wrong checksum, a truncated file, a dead network.
        if "not found" in str(error):
            got, remedy = (
                f"none or damaged ones in {str(root)!r}",
                "pass --data-root DIR, or --download to fetch them",
            )
        elif download:
            got, remedy = (
                f"a failed download ({_first_line(error)})",
                "check the network, or pass --data-root DIR with the files",
            )
        else:
            got, remedy = (
                f"unreadable ones in {str(root)!r} ({_first_line(error)})",
                "delete them and pass --download",
            )
        raise bad_value("data", f"the files of {name!r}", got, remedy) from None


def _labels(part: Any) -> Any:
    return part.targets if hasattr(part, "targets") else part.labels


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


DIGITS = Source(
    name="digits", description="handwritten digits, grey", origin="scikit-learn", kind="bundled", shape=(8, 8),
    n_train=DIGITS_TRAIN, n_test=397, n_classes=10, read=digits,
)  # fmt: skip
MNIST = Source(
    name="mnist", description="handwritten digits, grey", origin="torchvision", kind="files", shape=(28, 28),
    n_train=60000, n_test=10000, n_classes=10, read=mnist,
)  # fmt: skip
FASHION_MNIST = Source(
    name="fashion-mnist", description="clothes, grey", origin="torchvision", kind="files", shape=(28, 28),
    n_train=60000, n_test=10000, n_classes=10, read=fashion_mnist,
)  # fmt: skip
CIFAR10 = Source(
    name="cifar10", description="natural images, colour", origin="torchvision", kind="files", shape=(32, 32, 3),
    n_train=50000, n_test=10000, n_classes=10, read=cifar10,
)  # fmt: skip
SVHN = Source(
    name="svhn", description="house numbers, colour", origin="torchvision", kind="files", shape=(3, 32, 32),
    n_train=73257, n_test=26032, n_classes=10, read=svhn,
)  # fmt: skip
