"""Rows of hidden states at positions: against an explicit loop, on either side of the padding."""

from __future__ import annotations

import pytest
import torch

from agop.concepts.positions import checked_position, rows_at


def oracle(states, position, mask):
    rows = []
    for h, own in zip(states, mask):
        real = [vector for vector, counts in zip(h, own) if counts]
        if position == "mean":
            rows.append(sum(real) / len(real))
        else:
            rows.append(real[{"last": -1, "first": 0}.get(position, position)])
    return torch.stack(rows)


@pytest.mark.parametrize("side", ["left", "right", "holes"])
@pytest.mark.parametrize("position", ["last", "first", "mean", 0, 1, -1, -2])
def test_rows_are_those_of_a_loop_over_positions_that_count(position, side, generator):
    states = torch.randn(4, 6, 3, generator=generator)
    mask = torch.ones(4, 6, dtype=torch.bool)
    for row, pads in enumerate([0, 1, 3, 4]):
        places = {"left": slice(0, pads), "right": slice(6 - pads, 6), "holes": slice(1, 1 + pads)}[side]
        mask[row, places] = False
    expected = oracle(states, position, mask)
    states[~mask] = float("nan")  # whatever stands at padding has no part in it
    torch.testing.assert_close(rows_at(states, position, mask), expected)


def test_without_a_mask_all_positions_count(generator):
    states = torch.randn(4, 6, 3, generator=generator)
    torch.testing.assert_close(rows_at(states, "mean", None), states.mean(1))
    torch.testing.assert_close(rows_at(states, "last", None), states[:, -1])
    torch.testing.assert_close(rows_at(states.mT, "first", None, axis=1), states[:, 0])


def test_states_without_positions_are_copied_and_images_averaged(generator):
    rows, images = torch.randn(4, 3, generator=generator), torch.randn(4, 3, 2, 5, generator=generator)
    found = rows_at(rows, "last", None)
    assert torch.equal(found, rows)
    assert found.data_ptr() != rows.data_ptr()
    torch.testing.assert_close(rows_at(images, "mean", None, axis=1), images.mean((2, 3)))
    with pytest.raises(ValueError, match="position: expected 'mean', got 'last' for states with 2 axes"):
        rows_at(images, "last", None, axis=1)


def test_half_precision_is_averaged_in_single():
    ones = torch.full((1, 4096, 1), 1.0, dtype=torch.bfloat16)
    assert rows_at(ones, "mean", None).dtype == torch.float32
    assert rows_at(ones, "mean", None).item() == 1.0


def test_bad_masks_and_positions_are_told():
    states = torch.zeros(2, 3, 1)
    with pytest.raises(ValueError, match=r"attention_mask: expected a mask .* \(2, 3\), got shape \(2, 4\)"):
        rows_at(states, "last", torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="at least 1 positions that count in each sample, got 2 samples"):
        rows_at(states, "mean", torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="at least 4 positions"):
        rows_at(states, 3, None)
    for bad, kind in (("middle", ValueError), (1.5, TypeError), (True, TypeError), (None, TypeError)):
        with pytest.raises(kind, match="position: expected"):
            checked_position(bad)
