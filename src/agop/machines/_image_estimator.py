"""What estimators of images share: reading images, the plan of a fit, its memory."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop._memory import parse_memory
from agop.kernels.patch_named import make_patch_kernel
from agop.kernels.patches import PADDINGS, PatchGrid
from agop.machines import _images, _inputs
from agop.machines._base import KernelEstimator
from agop.machines._inputs import Place
from agop.machines.conv_machine import MATRIX_SCALES, POSITIONS, RIDGE_SCALES, Plan, conv_memory
from agop.machines.samples import Samples

CROSS_FITTED = "cross-fitted"


class ImageEstimator(KernelEstimator):
    """An estimator whose samples are images: (n, channels, height, width), or flat rows with `image_shape`."""

    image_shape_: tuple[int, int, int]

    def _rows(
        self, X: Any, *, reset: bool, device: Any, dtype: Any, counts: Any = None
    ) -> tuple[Float[Tensor, "n d"], Place]:
        known = None if reset else tuple(self.image_shape_)
        images = _images.are_images(X)
        asked = known if self.image_shape is None and not images else self.image_shape
        rows, shape = _images.flat_rows(X, asked, self.patch_size, learns=reset)
        if images and known is not None and shape != known:
            raise _checks.bad_value("X", f"images of shape {known} as in fit", f"{shape}", "pass such images")
        values, place = _inputs.check_X(self, rows, reset=reset, device=device, dtype=dtype)
        if reset:
            self.image_shape_ = (values.shape[1], 1, 1) if shape is None else shape
        return values, place

    def _grid(self, shape: tuple[int, int, int] | None = None) -> PatchGrid:
        """Where the patches lie, checked."""
        c, h, w = self.image_shape_ if shape is None else shape
        q = _checks.integer("patch_size", self.patch_size, at_least=1)
        stride = _checks.integer("stride", self.stride, at_least=1)
        return PatchGrid(c, h, w, q, stride, _checks.one_of("padding", self.padding, PADDINGS))

    def _plan(self, X: Float[Tensor, "n d"], c: int, grid: PatchGrid, depth: Any) -> Plan:
        """How a machine is fitted to images, with all parameters checked."""
        if self.n_agop is not None:
            _checks.integer("n_agop", self.n_agop, at_least=1)
        kernel = make_patch_kernel(self.kernel, depth, self.bandwidth, X, grid)
        grid.sides(kernel.depth)
        _, block, sums = conv_memory(
            len(X),
            grid.pixels,
            c,
            X.dtype,
            grid.features,
            parse_memory("max_memory", self.max_memory),
            X.device,
        )
        return Plan(
            kernel=kernel,
            grid=grid,
            ridge=_checks.real("ridge", self.ridge, at_least=0),
            ridge_scale=_checks.one_of("ridge_scale", self.ridge_scale, RIDGE_SCALES),
            power=_checks.real("power", self.power, above=0),
            scale=_checks.one_of("scale", self.scale, MATRIX_SCALES),
            positions=_checks.one_of("positions", self.positions, POSITIONS),
            n_agop=self.n_agop,
            seed=self.seed_,
            block_bytes=block,
            sum_bytes=sums,
        )

    def _holds_out(self) -> bool:
        crossed = isinstance(self.validation, str) and self.validation == CROSS_FITTED
        return self.validation is not None and not (crossed and hasattr(self, "n_folds"))

    def _share(self) -> float:
        if isinstance(self.validation, str):
            ways = f", or '{CROSS_FITTED}'" if hasattr(self, "n_folds") else ""
            raise _checks.bad_value(
                "validation", f"None or a share of the samples{ways}", repr(self.validation)
            )
        return super()._share()

    def _check_choice(self, samples: Samples, validation: Samples | None) -> bool:
        """Whether iterations are chosen by cross-fitted leave-one-out."""
        folds = _checks.integer("n_folds", self.n_folds, at_least=2)
        crossed = isinstance(self.validation, str) and self.validation == CROSS_FITTED
        if crossed and validation is not None:
            raise _checks.bad_value(
                "validation",
                "a way to choose the iteration",
                "two: 'cross-fitted' and X_val",
                "drop one of them",
            )
        if crossed and len(samples) < 2 * folds:
            raise _checks.bad_value(
                "X", f"at least {2 * folds} samples for n_folds={folds}", f"{len(samples)}"
            )
        return crossed

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None or self.patch_size == 1
        tags.input_tags.three_d_array = False
        return tags
