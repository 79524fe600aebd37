"""The tests' own guard: shapes are checked while they run."""

from __future__ import annotations

import jaxtyping
import pytest
import torch

import agop
from agop.linalg.psd import eigh_descending
from agop.linalg.ridge import RidgeFactor


def test_a_wrong_shape_is_seen_on_the_way_in():
    with pytest.raises(jaxtyping.TypeCheckError, match="eigh_descending"):
        eigh_descending(torch.zeros(3))


def test_a_wrong_shape_is_seen_in_a_method():
    factor = RidgeFactor.of(torch.eye(3), 1.0)
    with pytest.raises(jaxtyping.TypeCheckError, match="solve"):
        factor.solve(torch.zeros(3))


def test_what_announces_no_shape_costs_nothing():
    assert agop.load.__no_type_check__
    assert not hasattr(eigh_descending, "__no_type_check__")
