"""Lempel-Ziv complexity: the algorithm of Kaspar and Schuster as an oracle, published values, and the probe on whole functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies

import agop
from agop import lz_complexity
from agop.probes.complexity import _words, lz_complexities
from agop.theory.function_prior import boolean_inputs


def kaspar_schuster(s, n, end):
    """Words of s as a scan: l is where a word begins, i where it is compared, k how far; beyond `end` the word is the last."""
    i, k, l, longest, count = 0, 1, 1, 1, 1  # noqa: E741 - the names of 1987
    while True:
        if s[i + k - 1] == s[l + k - 1]:
            k += 1
            if l + k >= end:
                return count + 1
            continue
        longest, i = max(k, longest), i + 1
        if i == l:
            count, l = count + 1, l + longest  # noqa: E741
            if l + 1 > n:
                return count
            i, longest = 0, 1
        k = 1


@given(strategies.text("01", min_size=6, max_size=80))
def test_words_are_those_of_the_scan(s):
    assert _words(s, "textbook") == kaspar_schuster(s, len(s), len(s) + 1)
    assert _words(s, "paper") == kaspar_schuster(s, len(s) - 1, len(s) - 2)


@pytest.mark.parametrize(("ones", "textbook", "paper"), [(2, 35, 31.5), (10, 70, 66.5), (21, 101.5, 101.5)])
def test_the_targets_of_the_paper(ones, textbook, paper):
    f = np.zeros(128, dtype=int)
    f[np.random.RandomState(10).choice(128, size=ones)] = 1
    assert float(lz_complexity(f)) == textbook
    assert float(lz_complexity(f, convention="paper")) == paper


def test_known_strings_of_lempel_and_ziv():
    # 0 . 001 . 10 . 100 . 1000 . 101, the example of the paper of 1976
    assert _words("0001101001000101", "textbook") == 6
    for n in (2, 8, 100):
        assert float(lz_complexity("0" * n)) == pytest.approx(math.log2(n))
        assert float(lz_complexity([1] * n)) == pytest.approx(math.log2(n))


@given(strategies.text("01", min_size=2, max_size=60))
def test_direction_and_names_of_the_bits_do_not_matter(s):
    value = float(lz_complexity(s))
    assert float(lz_complexity(s[::-1])) == value
    assert float(lz_complexity(s.translate(str.maketrans("01", "10")))) == value


def test_many_at_once_are_one_by_one():
    functions = torch.rand(50, 32, generator=torch.Generator().manual_seed(0)) > 0.7
    functions = torch.cat([functions, functions[:10]])
    for convention in ("textbook", "paper"):
        each = [float(lz_complexity(f, convention=convention)) for f in functions]
        assert lz_complexities(functions, convention).tolist() == each


def test_random_functions_are_complex_and_simple_ones_are_not():
    g = torch.Generator().manual_seed(0)
    random = lz_complexities(torch.rand(300, 128, generator=g) > 0.5)
    assert 145 < float(random.median()) < 155
    assert float(lz_complexity("01" * 64)) < 30


def test_the_probe_reads_the_whole_table_of_a_network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    inputs = boolean_inputs(5)
    with torch.no_grad():
        whole = lz_complexity((model(inputs)[:, 0] > 0).long())
    some = inputs[torch.randperm(32)[:20]]
    found = agop.profile(model, some, measures=["lz_complexity"])
    assert float(found.whole["lz_complexity"].iloc[0]) == float(whole)
    found = agop.profile(model, torch.randn(20, 5), measures=["lz_complexity"])
    assert "the samples are not vectors of two values" in str(found)
