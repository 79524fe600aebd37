"""What goes into and comes out of the layers of a network while it runs.

The hooks live in `agop.gradients.taps`, because layer AGOPs are built on them and imports go downwards only
(gradients are below networks); they are offered here because here is where one looks for them.
"""

from __future__ import annotations

from agop.gradients.taps import (
    Call,
    call_name,
    capture,
    hooked,
    named_exactly,
    plain_name,
    select_layers,
    tensor_in,
)

__all__ = [
    "Call",
    "call_name",
    "capture",
    "hooked",
    "named_exactly",
    "plain_name",
    "select_layers",
    "tensor_in",
]
