from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from agop.experiments.gram import centred_gram, chosen_layers, class_sorted
from tests import tolerances
from tests.oracles import gram as oracle


def test_equals_the_pairwise_definition(generator):
    x = torch.randn(7, 3, dtype=torch.float64, generator=generator)
    expected = torch.tensor(oracle.centred_gram(x.tolist()), dtype=torch.float64)
    assert torch.allclose(centred_gram(x), expected, atol=tolerances.IDENTITY)


def test_exact_collapse_to_a_simplex_is_blocks_of_one():
    means = torch.eye(3, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    expected = torch.where(labels[:, None] == labels[None, :], 1.0, -0.5).double()
    assert torch.allclose(centred_gram(means[labels]), expected, atol=tolerances.IDENTITY)


def test_a_row_at_the_mean_has_no_direction():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    result = centred_gram(x)
    assert (result[2] == 0).all()
    assert torch.isfinite(result).all()


@given(st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_scale_and_shift_change_nothing(scale, shift):
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(centred_gram(x), centred_gram(scale * x + shift), atol=tolerances.ITERATIVE)


def test_rows_are_sorted_by_class_and_balanced():
    labels = np.array([2, 0, 1, 0, 2, 2, 0, 1, 0])
    rows = class_sorted(labels, 6)
    assert labels[rows].tolist() == [0, 0, 1, 1, 2, 2]
    assert rows.tolist() == [1, 3, 2, 7, 0, 4]
    assert labels[class_sorted(labels, 100)].tolist() == sorted(labels.tolist())
    assert labels[class_sorted(labels, 1)].tolist() == [0, 1, 2]


@given(st.integers(1, 60), st.integers(2, 8))
def test_chosen_layers_begin_with_the_first_and_end_with_the_last(n_layers, count):
    layers = chosen_layers(n_layers, count)
    assert layers[0] == 1
    assert layers[-1] == n_layers
    assert layers == sorted(set(layers))
    assert len(layers) <= count
