"""Lempel-Ziv complexity of a Boolean function: in how few words can its table of values be read out?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agop import _checks
from agop.evidence import Evidence
from agop.measurement import Measurement
from agop.probe import Probe

Convention = Literal["textbook", "paper"]
CONVENTIONS = ("textbook", "paper")
MOST_INPUTS = 14
"""Binary inputs of a function whose whole table the probe makes: 16,384 values."""


def lz_complexity(f: Any, *, convention: Convention = "textbook") -> Measurement:
    r"""Lempel-Ziv complexity of a string of bits, such as the values of a Boolean function on all inputs in lexicographic order.

    .. math:: K(f) = \log_2 N \cdot \tfrac12 \left(w(f) + w(f^{\text{reversed}})\right), \qquad K = \log_2 N \text{ if f is constant},

    with N the length and w the number of words in which the string is read from left to right, each the shortest piece that does not occur
    in what came before its last bit (Lempel and Ziv 1976, in the algorithm of Kaspar and Schuster 1987); a piece left at the end counts
    as a word. About N for random strings in the limit; at N = 128 their median is near 150.

    Parameters
    ----------
    f
        A text of 0 and 1, or a sequence, array or tensor (N,) of bits (0/1 or booleans), N ≥ 2.
    convention
        ``"paper"`` counts as the code that Mingard et al. published does: it takes a word that comes within two bits of the end for the
        last one, which makes some strings simpler by half a word.

    Returns
    -------
    Measurement
        In bits. `details`: the numbers of words `forwards` and `backwards`.

    Raises
    ------
    ValueError, TypeError
        If f has fewer than two values, or others than 0 and 1.

    Notes
    -----
    Mingard, Rees, Valle-Pérez and Louis 2025 (Nature Communications; arXiv 2304.06670), after Dingle, Camargo and Louis 2018.

    Examples
    --------
    >>> lz_complexity("0101010101010101")  # 0, 1, then the rest, in either direction
    lz_complexity[bits, textbook] = 12
    >>> float(lz_complexity([0] * 128))
    7.0
    """
    _checks.one_of("convention", convention, CONVENTIONS)
    bits = _bits("f", f)
    words = [_words(text, convention) for text in (bits, bits[::-1])]
    details = {"forwards": words[0], "backwards": words[1], "length": len(bits)}
    return Measurement(_value(bits, words), "lz_complexity", f"bits, {convention}", details=details)


def lz_complexities(
    functions: Bool[Tensor, "b n"], convention: Convention = "textbook"
) -> Float[Tensor, " b"]:
    """`lz_complexity` of each row, equal rows once."""
    if functions.ndim != 2 or functions.shape[1] < 2:
        raise _checks.bad_value(
            "functions", "a matrix of at least two columns", f"shape {tuple(functions.shape)}"
        )
    _checks.one_of("convention", convention, CONVENTIONS)
    unique, place = np.unique(functions.cpu().numpy().astype(np.uint8), axis=0, return_inverse=True)
    texts = [row.tobytes().translate(_DIGITS).decode() for row in unique]
    values = [_value(text, [_words(text, convention), _words(text[::-1], convention)]) for text in texts]
    return torch.tensor(values, dtype=torch.float64)[torch.from_numpy(place.reshape(-1))]


_DIGITS = bytes([48, 49]) + bytes(range(2, 256))
"""Bytes 0 and 1 to the digits."""


def _bits(name: str, f: Any) -> str:
    expected = "a text, or a sequence of 0 and 1, of length 2 or more"
    if isinstance(f, Tensor | np.ndarray):
        if f.ndim != 1:
            raise _checks.bad_value(name, expected, f"shape {tuple(f.shape)}", "pass one function at a time")
        f = f.tolist()
    if not isinstance(f, Iterable):
        raise _checks.bad_type(name, expected, type(f).__name__)
    symbols = list(f)
    if len(symbols) < 2:
        raise _checks.bad_value(name, expected, f"{len(symbols)} values")
    known = {"0": "0", "1": "1"} if isinstance(f, str) else {0: "0", 1: "1"}
    for symbol in symbols:
        if not isinstance(symbol, str | bool | int | float | np.generic) or symbol not in known:
            raise _checks.bad_value(name, expected, f"{symbol!r} in it", "threshold it, for instance f > 0")
    return "".join(known[symbol] for symbol in symbols)


def _value(bits: str, words: list[int]) -> float:
    unit = math.log2(len(bits))
    return unit if len(set(bits)) == 1 else unit * sum(words) / 2


def _words(bits: str, convention: str) -> int:
    """Words of a string, read from left to right."""
    n = len(bits)
    # how near to the end a word that was begun by a match counts as the last, and how near the next may begin
    margin = 0 if convention == "textbook" else 2
    begin, count = 1, 1
    while begin < n - margin // 2:
        length = 0
        while begin + length < n and bits.find(bits[begin : begin + length + 1], 0, begin + length) >= 0:
            length += 1
        count += 1
        if length and begin + length + 1 >= n + 1 - margin - (margin > 0):
            break
        begin += length + 1
    return count


def _of_evidence(e: Evidence, convention: Convention = "textbook") -> Measurement:
    """Of the decisions on all inputs, where the samples are vectors of two values."""
    definition, inputs = f"bits, {convention}", e.inputs

    def undefined(reason: str) -> Measurement:
        return Measurement.undefined("lz_complexity", definition, reason)

    values = inputs.unique()
    if inputs.ndim != 2 or len(values) != 2:
        return undefined("the samples are not vectors of two values")
    if inputs.shape[1] > MOST_INPUTS:
        return undefined(f"{inputs.shape[1]} binary inputs have too many combinations")
    every = torch.tensor(list(product(values.tolist(), repeat=inputs.shape[1]))).to(inputs)
    returned = e.function(every)
    if returned.ndim == 1 or returned.shape[1] == 1:
        decided = returned.reshape(-1) > 0
    elif returned.shape[1] == 2:
        decided = returned.argmax(1) == 1
    else:
        return undefined(f"{returned.shape[1]} outputs decide between more than two classes")
    return lz_complexity(decided.cpu(), convention=convention)


def _example() -> Evidence:
    """A linear function of six bits."""
    inputs = torch.tensor(list(product((0.0, 1.0), repeat=6)), dtype=torch.float64)
    weight = torch.tensor([1.0, -2.0, 3.0, -1.5, 0.7, 1.2], dtype=torch.float64)
    return Evidence.of("function", "subject", function=lambda X: (X @ weight - 0.6)[:, None], inputs=inputs)


LZ_COMPLEXITY = Probe(
    name="lz_complexity",
    label="Lempel-Ziv complexity (bits)",
    short="LZ",
    measure=_of_evidence,
    level="subject",
    needs=("function", "inputs"),
    meaning="how many words the table of the function's decisions on all binary inputs takes: few for simple functions",
    range="[log2 N, about N]",
    formula="log2 N · (words of f + words of f reversed) / 2; log2 N if f is constant",
    source="Mingard, Rees, Valle-Pérez, Louis 2025 (arXiv 2304.06670)",
    invariant=("order", "labels", "batches"),
    example=_example,
)
