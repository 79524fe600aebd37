"""Two processes that see half of the data each, merged, equal one process that sees all of it."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

import agop
from tests.tolerances import MERGE, relative_error


def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(15, 4)).double()


def data():
    return torch.randn(11, 2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def statistics(X, seed=0):
    return {
        "layers": agop.layer_agops(model(), X),
        "sum": agop.layer_agops(model(), X, positions="sum"),
        "random": agop.layer_agops(model(), X, outputs=4, random_state=seed),
        "plain": agop.AGOPMoments.of(model(), X),
        "centred": agop.AGOPMoments.of(model(), X, center=True),
    }


def work(rank, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    patience = timedelta(seconds=120)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, timeout=patience)
    mine = statistics((data()[:4], data()[4:])[rank], seed=rank)
    merged = {name: statistic.all_reduce() for name, statistic in mine.items()}
    torch.save(
        {
            "agops": {
                name: dict(value) if isinstance(value, dict) else {"x": value.agop}
                for name, value in merged.items()
            },
            "n": [value.n_samples for value in merged.values()],
            "rows": merged["layers"].rows,
            "error": merged["random"].standard_error,
        },
        f"{folder}/{rank}.pt",
    )
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(work, (port, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_equal_one(reduced, rank):
    whole, got = statistics(data()), reduced[rank]
    assert got["n"] == [11] * 5
    assert got["rows"] == whole["layers"].rows
    for kind in ("layers", "sum"):
        for name, value in whole[kind].items():
            assert relative_error(got["agops"][kind][name], value) < MERGE
    for kind in ("plain", "centred"):
        assert relative_error(got["agops"][kind]["x"], whole[kind].agop) < MERGE


def test_random_outputs_merge_with_their_error(reduced):
    exact = statistics(data())["layers"]
    halves = [
        agop.layer_agops(model(), X, outputs=4, random_state=seed)
        for seed, X in enumerate((data()[:4], data()[4:]))
    ]
    together = halves[0] + halves[1]
    for name in exact:
        assert relative_error(reduced[0]["agops"]["random"][name], together[name]) < MERGE
        assert reduced[0]["error"][name] == pytest.approx(together.standard_error[name])
