"""Shapes and types of tensors are checked at run time in the tests; other types are mypy's, which needs no time in a test."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""The type checker: beartype, with an int accepted where a float is announced (PEP 484)."""

_SHAPED = re.compile(r"\b(Shaped|Float\d*|Int\d*|Integer|Bool|Num|Real|Complex)\[")


def install() -> None:
    """Import all of agop that has a public name, with every function that announces the shape of a tensor checked."""
    with install_import_hook("agop", "tests.typechecking.check"):
        import agop

        for name in agop.__all__:  # imported on first use: here, while the hook is on
            getattr(agop, name)
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "agop":
            for function in _functions(module):
                if not any(_SHAPED.search(str(announced)) for announced in function.__annotations__.values()):
                    function.__no_type_check__ = True  # which jaxtyping's wrapper asks at every call


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Functions and methods that were written in `module`."""
    for thing in vars(module).values():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        for inner in [thing, *(vars(thing).values() if isinstance(thing, type) else ())]:
            for part in (inner, *(getattr(inner, side, None) for side in ("__func__", "fget", "func"))):
                if isinstance(part, FunctionType):
                    yield part
