"""What ranks do together, on two processes, and what they do alone."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agop.collapse import ClassMoments
from agop.ranks import ALONE, Ranks, RanksError, check_same, current, sharing
from tests.launching import start, well
from tests.tolerances import MERGE, relative_error

PROGRAM = """
import json, sys, torch
from agop.collapse import ClassMoments
from agop.launch import launched
from agop.ranks import ALONE, Ranks, RanksError, current, sharing

def attempt(work):
    try:
        return work()
    except RanksError as error:
        return str(error)

def fails_on(rank):
    def work():
        if ranks.rank == rank:
            raise OSError("no such file")
        return "read"
    return work

seen = {}
with launched() as ranks:
    seen["current"] = current() == ranks
    with sharing(ALONE):
        seen["inner"] = current().size
    with launched() as again:
        seen["nested"] = again == ranks
    for dtype in (torch.float32, torch.float64, torch.int64):
        x = torch.arange(6, dtype=dtype).reshape(2, 3).mT + ranks.rank
        ranks.sum_(x)
        seen[str(dtype)] = x.tolist()
    seen["scalar"] = ranks.sum_(torch.tensor(2.0)).item()
    seen["main"] = ranks.from_main(torch.full((3 + ranks.rank, 2), ranks.rank + 5.0)).tolist()
    seen["main scalar"] = ranks.from_main(torch.tensor(ranks.rank)).item()
    seen["gather"] = ranks.gather("ä" * ranks.rank)
    seen["agree"] = attempt(lambda: ranks.agree("data", "x" * 1000))
    seen["short"] = attempt(lambda: ranks.agree("layers", str(ranks.rank), "look"))
    seen["long"] = attempt(lambda: ranks.agree("data", "x" * 1000 + str(ranks.rank)))
    seen["together"] = ranks.together(fails_on(5))
    seen["fails"] = attempt(lambda: ranks.together(fails_on(1)))
    ranks.barrier()
    g = torch.Generator().manual_seed(0)
    h = torch.randn(40, 3, dtype=torch.float64, generator=g) + 1e6
    y = torch.arange(40) % 3
    y[y == 2] = torch.where(torch.arange(len(y[y == 2])) > 5, 2, 0)  # class 2 is on rank 1 only
    rows = ranks.share(40)
    m = ClassMoments.of(h[rows], y[rows], 4, scatter="full").all_reduce()
    seen["moments"] = {name: getattr(m, name).tolist() for name in ("counts", "means", "within", "residual", "scatter")}
    seen["other moments"] = attempt(lambda: ClassMoments.of(h, y, 4 + ranks.rank).all_reduce())
seen["after"] = current().size
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def both():
    done = well(start(PROGRAM))
    assert not any(process.err for process in done)
    return [json.loads(process.out) for process in done]


def test_both_ranks_see_the_same(both):
    assert both[0] == both[1]


def test_launch_is_current_inside_its_block_only(both):
    seen = both[0]
    assert seen["current"]
    assert seen["nested"]
    assert (seen["inner"], seen["after"]) == (1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_sums_of_any_layout(both, dtype):
    expected = 2 * torch.arange(6).reshape(2, 3).mT + 1
    assert both[0][str(dtype)] == expected.to(dtype).tolist()


def test_scalars_broadcast_and_texts(both):
    seen = both[0]
    assert seen["scalar"] == 4
    assert seen["main"] == [[5, 5]] * 3
    assert seen["main scalar"] == 0
    assert seen["gather"] == ["", "ä"]


def test_disagreement_is_one_sentence_that_names_the_rank(both):
    seen = both[0]
    assert seen["agree"] is None
    assert seen["short"] == "layers: expected the same on all 2 ranks, got 1 on rank 1 and 0 elsewhere; look."
    assert seen["long"] == "data: expected the same on all 2 ranks, got another on rank 1."


def test_an_error_on_one_rank_is_raised_on_all(both):
    assert both[0]["together"] == "read"
    assert both[0]["fails"] == "rank 1: no such file"


def test_moments_of_shares_merge_to_those_of_all(both):
    h = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e6
    y = torch.arange(40) % 3
    y[y == 2] = torch.where(torch.arange(len(y[y == 2])) > 5, 2, 0)
    whole = ClassMoments.of(h, y, 4, scatter="full")
    seen = {name: torch.tensor(value, dtype=torch.float64) for name, value in both[0]["moments"].items()}
    assert torch.equal(seen["counts"], whole.counts)
    assert relative_error(seen["within"], whole.within) < MERGE
    assert relative_error(seen["scatter"], whole.scatter) < MERGE
    # deviations from a far origin: the two parts of a mean together are exact
    shift = (seen["means"] - whole.means) + (seen["residual"] - whole.residual)
    assert float(shift.abs().max()) < MERGE


def test_moments_of_unlike_shape_are_refused(both):
    expected = "moments: expected the same on all 2 ranks, got 5 classes in 3 dimensions without scatter on rank 1 and 4"
    assert both[0]["other moments"].startswith(expected)


def test_alone_everything_is_as_it_was():
    x = torch.ones(2)
    assert ALONE.sum_(x) is x
    assert ALONE.from_main(x) is x
    assert ALONE.gather("a") == ["a"]
    ALONE.agree("data", "x")
    ALONE.barrier()
    assert ALONE.together(lambda: 3) == 3
    assert current() is ALONE
    moments = ClassMoments.of(torch.ones(2, 2), torch.tensor([0, 1]))
    assert moments.all_reduce() is moments


def test_sharing_ends_with_its_block_also_by_an_error():
    def fails():
        assert current() == Ranks(1, 2)
        raise KeyError

    with pytest.raises(KeyError), sharing(Ranks(1, 2)):
        fails()
    assert current() is ALONE


@given(st.integers(0, 1000), st.integers(1, 70))
def test_shares_cover_everything_once_and_evenly(total, size):
    shares = [range(total)[Ranks(rank, size).share(total)] for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.lists(st.integers(1, 9), max_size=60), st.integers(1, 8))
def test_dealt_items_cover_everything_once_and_evenly(costs, size):
    items = list(enumerate(costs))
    parts = [Ranks(rank, size).deal(items, cost=lambda item: item[1]) for rank in range(size)]
    assert sorted(item for part in parts for item in part) == items
    loads = [sum(cost for _, cost in part) for part in parts]
    assert max(loads) - min(loads) <= max(costs, default=0)


def test_the_odd_ones_out_are_those_in_the_minority():
    check_same("data", [("a", "a")] * 3)
    with pytest.raises(RanksError, match="got a on rank 0 and b elsewhere"):
        check_same("data", [("a", "a"), ("b", "b"), ("b", "b")])
    with pytest.raises(RanksError, match="got b on ranks 1, 2 and a elsewhere"):
        check_same("data", [("a", "a"), ("b", "b"), ("b", "b"), ("a", "a")])
