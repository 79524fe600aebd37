"""The data sets that have a name; another package adds one through an entry point of the group "agop.datasets"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agop.registry import Registry

if TYPE_CHECKING:
    from agop.datasets.source import Source

DATA: Registry[Source] = Registry(
    "agop.datasets",
    {
        "digits": "agop.datasets.named:DIGITS",
        "mnist": "agop.datasets.named:MNIST",
        "fashion-mnist": "agop.datasets.named:FASHION_MNIST",
        "cifar10": "agop.datasets.named:CIFAR10",
        "svhn": "agop.datasets.named:SVHN",
        "nlgp": "agop.datasets.nlgp:NLGP",
        "nlgp-gaussian": "agop.datasets.nlgp:NLGP_GAUSSIAN",
        "boolean": "agop.datasets.boolean:BOOLEAN",
        "tree-field": "agop.datasets.tree_fields:TREE_FIELD",
        "spiral": "agop.datasets.spiral:SPIRAL",
        "stars": "agop.datasets.stars:STARS",
        "digits-in-noise": "agop.datasets.in_noise:DIGITS_IN_NOISE",
        "mnist-in-noise": "agop.datasets.in_noise:MNIST_IN_NOISE",
    },
)
"""By name, in the order in which they are listed."""
