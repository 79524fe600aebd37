"""The table behind these tests: what is passed, and the sentence or the value that must come back.

A subject is one argument of one public function; every subject meets all the cases that fit its kind. The outcome of
each is a row of `expected/FAMILY.tsv`: "value" (all numbers finite), "undefined" with the reason, "NaN where documented",
or the sentence of the error. `python -m tests.hostile.table` writes these files anew, for `git diff` to be read: an outcome
that breaks the rules of `outcome` can be in no table.
"""

from __future__ import annotations

import copy
import importlib
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from sklearn.utils.multiclass import type_of_target
from torch import Tensor

import agop
from agop import Measurement
from agop.datasets import DATA
from agop.kernels import KERNELS

ROOT = str(Path(agop.__file__).parent)
EXPECTED = Path(__file__).parent / "expected"
FAMILIES = (
    "gradients",
    "kernels",
    "estimators",
    "collapse",
    "probes",
    "profiles",
    "concepts",
    "datasets",
    "tables",
    "values",
)
SENTENCE = re.compile(r"[\w\[\]., ]+: expected [^\n]+, got [^\n]+\.")
"""Every message of ours has this form: the argument, what was expected, what came, and mostly what to do."""
SKLEARN = re.compile(
    r"(The '\w+' parameter of \w+ must be|Input (X|y|sample_weight) contains (NaN|infinity)"
    r"|Found array with|Sample weights must|Expected 2D array"
    r"|This \w+ instance is not fitted yet|Support for labels represented as bytes"
    r"|.*(dtype|Unknown label type|could not convert|Complex data|sparse|features? names|dimensions?|sample_weight|inhomogeneous"
    r"|feature)).*",
    re.DOTALL | re.IGNORECASE,
)
"""What scikit-learn's own validation says, word for word, as its contract demands of estimators."""


def read_only(good: Tensor) -> Tensor:
    """A tensor over memory that cannot be written: writing to it is an error of the operating system."""
    array = good.numpy().copy()
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch does not know of read-only memory is the point
        return torch.from_numpy(array)


def strided(good: Tensor) -> Tensor:
    """The same numbers, every second entry of a larger tensor, axes in reverse order in memory."""
    wide = torch.full([2 * n for n in reversed(good.shape)], float("nan"), dtype=good.dtype)
    view = wide.permute(*reversed(range(good.ndim)))[tuple(slice(None, None, 2) for _ in good.shape)]
    view.copy_(good)
    return view


def with_entry(good: Tensor, entry: float) -> Tensor:
    changed = good.clone()
    changed.view(-1)[0] = entry
    return changed


MATRIX_CASES: dict[str, Callable[[Tensor], Any]] = {
    "None": lambda good: None,
    "a list": lambda good: good.tolist(),
    "a text": lambda good: "points",
    "an array": lambda good: good.numpy().copy(),
    "objects": lambda good: good.numpy().astype(object),
    "integers": lambda good: good.long(),
    "booleans": lambda good: good > 0,
    "complex": lambda good: good.to(torch.complex128),
    "a number": lambda good: torch.tensor(1.0, dtype=torch.float64),
    "one axis": lambda good: good.flatten(),
    "three axes": lambda good: good[None],
    "no rows": lambda good: good[:0],
    "no columns": lambda good: good[:, :0],
    "a row less": lambda good: good[:-1],
    "a column less": lambda good: good[:, :-1],
    "NaN": lambda good: with_entry(good, float("nan")),
    "infinity": lambda good: with_entry(good, float("inf")),
    "huge": lambda good: good * 1e30,
    "beyond squares": lambda good: good * 1e200,
    "denormal": lambda good: good * 1e-310,
    "float32": lambda good: good.float(),
    "half precision": lambda good: good.half(),
    "one row": lambda good: good[:1],
    "duplicated rows": lambda good: good[:1].repeat(len(good), *[1] * (good.ndim - 1)),
    "constant column": lambda good: torch.cat([torch.ones_like(good[:, :1]), good[:, 1:]], 1),
    "strided": strided,
    "read-only": read_only,
    "requires a gradient": lambda good: good.clone().requires_grad_(),
}


@dataclass(frozen=True)
class Subject:
    """One argument of one public name: `call` is the function with this argument open, `good` what it takes."""

    name: str
    argument: str
    call: Callable[[Any], Any]
    good: Any
    cases: Mapping[str, Callable[[Any], Any]] = field(default_factory=lambda: MATRIX_CASES)
    nan: bool = False
    """NaN in a result has a documented meaning here."""

    def __str__(self) -> str:
        return f"{self.name}({self.argument})"


def outcome(subject: Subject, case: str) -> str:
    """What a row comes to, in the words of the table.

    Whatever that is: the input is as it was, the global generator was not touched, an exception is a `ValueError`, `TypeError`,
    `MemoryError` or `OSError` that our own code raised, in one sentence, and a number is finite or says why it is not.
    """
    given = subject.cases[case](subject.good)
    before = copy.deepcopy(given)
    state = torch.random.get_rng_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            returned = subject.call(given)
    except (ValueError, TypeError, MemoryError, OSError) as error:
        text = told(error)
    else:
        text = described(returned, subject.nan)
    assert same(given, before), "the input was changed"
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"
    return text


def options(*bad: Any) -> dict[str, Callable[[Any], Any]]:
    """Cases that are the values of an option, whatever the good one is."""
    return {name_of(value): (lambda good, value=value: value) for value in bad}


def name_of(value: Any) -> str:
    """A value as the name of its case."""
    if callable(value) or type(value).__name__ in ("RandomState", "Generator"):
        return getattr(value, "__qualname__", type(value).__name__)
    return alike(" ".join(repr(value).split())[:60])


def told(error: Exception) -> str:
    """The sentence of an error, if it is one and comes from us."""
    text = str(error)
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = SENTENCE.fullmatch(text) and files[-1].startswith(ROOT)
    theirs = any("sklearn" in file for file in files) and SKLEARN.match(text)
    assert ours or theirs, f"no sentence of ours: {type(error).__name__}: {text}"
    # torch's own words in a parenthesis change with its releases, amounts of memory with the machine
    text = re.sub(r" \((addmm|mm|mat1)[^;]*\);", " (torch's reason);", " ".join(text.split()))
    text = re.sub(r" \(torch: [^\n]*\)\.", " (torch's reason).", text)
    text = re.sub(r"[\d.]+ [KMGT]?i?B\b", "# bytes", text)
    # scikit-learn lists a set of words in any order
    text = re.sub(r"\{('[^{}]*')\}", lambda found: "{" + ", ".join(sorted(found[1].split(", "))) + "}", text)
    return f"{type(error).__name__}: {alike(unlisted(text)[:300])}"


def alike(text: str) -> str:
    """What older and newer releases of NumPy and scikit-learn say in other words, in one."""
    text = re.sub(r"\bnp\.\w+\(([^()]*)\)", r"\1", text).replace("numpy.bool_", "numpy.bool")
    text = re.sub(r"(Found array with dim \d+)[.,].*", r"\1", text)
    text = re.sub(r"(Sample weights must be 1D array or scalar).*", r"\1", text)
    none = "Sample weights must contain at least one non-zero number."
    return text.replace(
        none, "sample_weight: expected some positive weight, got none; weight at least one sample."
    )


def unlisted(text: str) -> str:
    """A sentence without the names that a registry holds today, so that a new line there changes no table."""
    for registry, word in ((agop.PROBES, "probes"), (KERNELS, "kernels"), (DATA, "data sets")):
        name = "|".join(re.escape(known) for known in sorted(registry, key=len, reverse=True))
        text = re.sub(rf"'?\b({name})\b'?(, '?({name})\b'?){{3,}}", f"<{word}>", text)
    return text


def described(returned: Any, nan: bool) -> str:
    """ "value", or why there is none."""
    if isinstance(returned, Measurement) and not returned.defined:
        assert returned.undefined_because
        return f"undefined: {returned.undefined_because}"
    if finite(returned):
        return "value"
    assert nan, f"not finite: {returned}"
    return "value, NaN where documented"


def load(family: str) -> dict[tuple[str, str], str]:
    """The rows of a table."""
    lines = (EXPECTED / f"{family}.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return {(subject, alike(case)): alike(expected) for subject, case, expected in rows}


def fits_here(case: str) -> bool:
    """Whether the outcome of a case in the tables is that of this machine, which may have an accelerator."""
    absent = not torch.cuda.is_available() and not torch.backends.mps.is_available()
    if case == "bytes" and not _refuses_bytes():
        return False
    return absent or case not in ("'cuda'", "'cuda:99'", "'mps'")


def _refuses_bytes() -> bool:
    """Whether this release of scikit-learn refuses labels that are bytes; older ones warn."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            type_of_target(np.array([b"a", b"b"]))
    except TypeError:
        return True
    return False


def table_tests(family: str, subjects: list[Subject]) -> Callable[..., None]:
    """One test an argument, of all its rows: thousands of tests would cost more than what they run."""
    expected = load(family) if (EXPECTED / f"{family}.tsv").exists() else {}

    @pytest.mark.parametrize("subject", subjects, ids=str)
    def test_rows(subject: Subject) -> None:
        found = {}
        for case in filter(fits_here, subject.cases):
            try:
                found[case] = outcome(subject, case)
            except Exception as error:
                error.add_note(f"{subject} | {case}")
                raise
        assert found == {case: expected[str(subject), case] for case in found}

    return test_rows


def write(family: str) -> None:
    """Write the table of a family; rows that break the rules are named and left out."""
    lines, broken = [], 0
    for subject in importlib.import_module(f"tests.hostile.test_{family}").SUBJECTS:
        for case in subject.cases:
            try:
                lines.append(f"{subject}\t{case}\t{outcome(subject, case)}\n")
            except Exception as error:  # noqa: BLE001 - whatever breaks a rule is to be seen
                broken += 1
                print(f"{subject} | {case} | {type(error).__name__}: {str(error)[:170]!r}")
    EXPECTED.mkdir(exist_ok=True)
    (EXPECTED / f"{family}.tsv").write_text("".join(lines), encoding="utf-8")
    print(f"{family}: {len(lines)} rows, {broken} broken")


def finite(value: Any) -> bool:
    """Whether every number in a result, however nested, is finite."""
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all()) if value.is_floating_point() else True
    if isinstance(value, np.ndarray):
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    if isinstance(value, Measurement) and not value.defined:
        return bool(value.undefined_because)
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    if isinstance(value, Mapping):
        return all(finite(entry) for entry in value.values())
    if isinstance(value, list | tuple):
        return all(finite(entry) for entry in value)
    return True


def same(a: Any, b: Any) -> bool:
    """Whether two inputs are equal, NaN equal to NaN."""
    if isinstance(a, Tensor) and a.layout != torch.strided:
        return same(a.to_dense(), b.to_dense())
    if isinstance(a, Tensor):
        if a.is_floating_point():
            a, b = torch.nan_to_num(a), torch.nan_to_num(b)
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return repr(a) == repr(b)


if __name__ == "__main__":
    jaxtyping.config.update("jaxtyping_disable", True)
    for name in sys.argv[1:] or FAMILIES:
        write(name)
