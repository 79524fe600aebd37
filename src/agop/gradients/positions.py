"""Where samples are when their positions are merged with them: (n, T, d) seen as (n T, d), windows of an image as (n · windows, T, d)."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor

from agop.gradients.provenance import tensors_in

_RESHAPING = frozenset({"view", "reshape", "flatten", "unflatten", "_unsafe_view"})


class Positions:
    """Tensors of one forward pass whose first axis runs over samples and, within each, over positions."""

    def __init__(self) -> None:
        self._n_samples = 0
        self._merged: dict[int, weakref.ref[Tensor]] = {}

    def start(self, n_samples: int) -> None:
        """Begin a forward pass of so many samples."""
        self._n_samples = n_samples
        self._merged.clear()

    def are_merged(self, tensor: Tensor) -> bool:
        """Whether positions of a sample follow one another along the first axis."""
        found = self._merged.get(id(tensor))
        return found is not None and found() is tensor

    def apart(self, tensor: Tensor) -> Tensor:
        """The tensor with samples and positions on axes of their own, if they are merged."""
        if not self.are_merged(tensor):
            return tensor
        return tensor.reshape(self._n_samples, -1, *tensor.shape[1:])

    def follow(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """An operation has been run."""
        n = self._n_samples
        if (
            not isinstance(result, Tensor)
            or result.ndim < 2
            or n < 1
            or result.shape[0] <= n
            or result.shape[0] % n
        ):
            return
        for tensor in tensors_in((args, kwargs)):
            merged = self.are_merged(tensor)
            if merged and result.shape[0] == tensor.shape[0]:
                break
            plain = tensor.ndim > 2 and tensor.shape[0] == n
            if name in _RESHAPING and (merged or plain) and tensor.shape[-1] == result.shape[-1]:
                break
        else:
            return
        self._merged[id(result)] = weakref.ref(result)
