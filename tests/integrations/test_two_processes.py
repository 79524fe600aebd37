"""What two gloo processes measure equals what one does: moments, the metric, and the callback under DDP."""

from __future__ import annotations

import os
import socket

import pytest
import torch
import torch.multiprocessing

from agop import ClassMoments, nc1
from agop.integrations.torchmetrics import ONE_PASS, NeuralCollapse
from tests.integrations.small import data, loader, small
from tests.tolerances import MERGE


def _shard(rank):
    """Uneven shards; rank 1 never sees class 2."""
    x, y = data()
    mine = (y != 2) & (torch.arange(len(y)) % 3 == 0)
    mine = mine if rank == 1 else ~mine
    return x[mine], y[mine]


def _metric(rank):
    known = NeuralCollapse(4, 6, measures=ONE_PASS)
    lazy = NeuralCollapse(4, measures="nc1")
    one_sided = NeuralCollapse(4, measures="nc1")  # nothing at all on rank 1
    x, y = _shard(rank)
    for a, b in zip(x.split(17), y.split(17)):
        known.update(a, b)
        lazy(a, b)
    if rank == 0:
        one_sided.update(*data())
    values = {name: float(value) for name, value in known.compute().items()}
    values |= {"lazy": float(lazy.compute()), "one_sided": float(one_sided.compute())}
    lazy.update(x[:5], y[:5])  # after compute a process holds its own samples again
    values["n"] = lazy.moments.n
    return values


def _callback(**options):
    from lightning.pytorch import Trainer

    from agop.integrations.lightning import CollapseCallback

    callback = CollapseCallback(["body.4", "head"], measures=["nc1", "nc2", "cdnv", "nc3"])
    rows = CollapseCallback(["head"], measures=["nc4", "nfa"], prefix="rows")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        enable_checkpointing=False,
        callbacks=[callback, rows],
        **quiet,
        **options,
    )
    model = small()
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.0)
    model.body[1].momentum = 0.0  # weights and statistics stay, so that one process can be compared with two
    trainer.fit(model, loader())
    frames = [each.to_frame().dropna(subset=["value"]) for each in (callback, rows)]
    return {
        f"{row['name']}/{row['stage']}/{row['measure']}": row["value"]
        for frame in frames
        for _, row in frame.iterrows()
    }


def _work(rank, world, path, port, results):
    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "GROUP_RANK": "0",
        "LOCAL_WORLD_SIZE": str(world),
        "TORCHELASTIC_RUN_ID": "test",
    }
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    try:
        moments = [None, None]
        torch.distributed.all_gather_object(moments, ClassMoments.of(*_shard(rank), 4))
        merged = float(nc1(moments[0] + moments[1]))
        results.put((rank, merged, _metric(rank), _callback(strategy="ddp", devices=2)))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_processes_equal_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = torch.multiprocessing.get_context("spawn").SimpleQueue()
    torch.multiprocessing.spawn(_work, args=(2, tmp_path / "init", port, results), nprocs=2)
    outcome = [results.get() for _ in range(2)]
    x, y = data()
    one = NeuralCollapse(4, measures=ONE_PASS)
    one.update(x, y)
    expected = {name: float(value) for name, value in one.compute().items()}
    alone = _callback(devices=1)
    sizes = {rank: values["n"] for rank, _, values, _ in outcome}
    assert sum(sizes.values()) == len(y) + 10
    assert sizes[0] > 2 * sizes[1]
    for _, merged, values, logged in outcome:
        assert merged == pytest.approx(nc1(ClassMoments.of(x, y)), rel=MERGE)
        for name, value in expected.items():
            assert values[name] == pytest.approx(value, rel=MERGE)
        assert values["lazy"] == pytest.approx(expected["nc1"], rel=MERGE)
        assert values["one_sided"] == pytest.approx(expected["nc1"], rel=MERGE)
        # the forward pass is float32 and batches differ, so features agree to 1e-7 only
        assert logged == pytest.approx(alone, rel=1e-5)
