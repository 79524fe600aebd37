"""Launches, good and bad: a bad one ends in one sentence, in time, on every rank."""

from __future__ import annotations

import socket
import time

import pytest

from agop.launch import Launch, launched, time_limit
from agop.ranks import ALONE, current
from tests.launching import free_port, start, well

GOOD = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "here",
    "MASTER_PORT": "29500",
}

MEETING = """
import sys
from agop.launch import launched
try:
    with launched() as ranks:
        ranks.barrier()
except ValueError as error:
    print(type(error).__name__, error)
    sys.exit(2)
"""


AND_THEN = """
import os, signal, sys, time
from agop.launch import launched
from agop.ranks import RankLost
try:
    with launched() as ranks:
        ranks.barrier()
        if ranks.rank == 1:
            {event}
        ranks.barrier()
except RankLost as error:
    print(error)
    sys.exit(3)
"""


@pytest.fixture
def no_launch(monkeypatch):
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)


def test_without_torchrun_nothing_changes(no_launch):
    with launched() as ranks:
        assert ranks is ALONE
        assert current() is ALONE


def test_one_rank_is_alone(no_launch, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with launched() as ranks:
        assert ranks.alone


def test_the_environment_is_read():
    launch = Launch.of(GOOD)
    assert (launch.rank, launch.size, launch.local_rank, launch.host, launch.port) == (1, 2, 0, "here", 29500)
    assert not launch.hosted
    assert launch.here == 2  # unless it says otherwise, all are on this machine
    assert Launch.of(GOOD | {"LOCAL_WORLD_SIZE": "1"}).here == 1
    assert Launch.of({}) is None


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MASTER_ADDR", None, "MASTER_ADDR: expected to be set"),
        ("MASTER_PORT", None, "MASTER_PORT: expected to be set"),
        ("RANK", None, "RANK: expected to be set"),
        ("WORLD_SIZE", None, "WORLD_SIZE: expected to be set"),
        ("WORLD_SIZE", "two", "WORLD_SIZE: expected an integer"),
        ("WORLD_SIZE", "0", "WORLD_SIZE: expected an integer >= 1"),
        ("RANK", "2", "RANK: expected 0 to WORLD_SIZE - 1 = 1"),
        ("RANK", "-1", "RANK: expected an integer >= 0"),
        ("MASTER_PORT", "99999", "MASTER_PORT: expected a port"),
    ],
)
def test_unusable_variables_are_named(variable, value, words):
    changed = {name: text for name, text in (GOOD | {variable: value}).items() if text is not None}
    with pytest.raises(ValueError, match=words):
        Launch.of(changed)


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf"])
def test_unusable_time_limits_are_named(text):
    assert time_limit({"AGOP_DISTRIBUTED_TIMEOUT": "7"}) == 7
    with pytest.raises(ValueError, match="AGOP_DISTRIBUTED_TIMEOUT: expected"):
        time_limit({"AGOP_DISTRIBUTED_TIMEOUT": text})


def ended(done):
    """All ranks ended with code 2 and one line each, no stack trace; these lines."""
    for process in done:
        assert process.code == 2, process.err
        assert not process.err
        assert process.out.count("\n") == 1
    return [process.out for process in done]


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        first, second = ended(start(MEETING, MASTER_PORT=port, AGOP_DISTRIBUTED_TIMEOUT=2))
    assert "expected a free port of this machine, got one that is taken" in first
    assert "does not answer" in second


def test_a_rank_that_never_comes():
    began = time.monotonic()
    lines = ended(start(MEETING, 2, WORLD_SIZE=4, AGOP_DISTRIBUTED_TIMEOUT=3))
    assert time.monotonic() - began < 30
    assert lines[0] == lines[1]
    assert "expected 4 ranks within 3 s, got none with RANK 2, 3;" in lines[0]


def test_no_rank_0():
    (line,) = ended(start(MEETING, 1, RANK=1, WORLD_SIZE=2, AGOP_DISTRIBUTED_TIMEOUT=2))
    assert "expected rank 0 within 2 s, got no answer" in line


def test_ranks_of_other_counts():
    lines = ended(start(MEETING, each={1: {"WORLD_SIZE": 3}}))
    assert lines[0] == lines[1]
    assert "WORLD_SIZE: expected the same on all 2 ranks, got 3 on rank 1 and 2 elsewhere" in lines[0]


def test_one_rank_twice():
    lines = ended(
        start(MEETING, each={1: {"RANK": 0, "MASTER_PORT": free_port()}}, AGOP_DISTRIBUTED_TIMEOUT=3)
    )
    assert all("got none with RANK 1" in line for line in lines)


def test_other_versions():
    program = """
import os, agop.launch
real = agop.launch.version
agop.launch.version = lambda name: "9.9" if name == "agop" and os.environ["RANK"] == "1" else real(name)
"""
    lines = ended(start(program + MEETING))
    assert lines[0] == lines[1]
    assert "versions: expected the same on all 2 ranks" in lines[0]
    assert "agop 9.9" in lines[0]


def test_a_group_that_is_there_is_used_and_left():
    program = """
import torch, torch.distributed as dist
from agop.launch import launched
from agop.ranks import Ranks, current
dist.init_process_group("gloo")
print(current().size, Ranks.of().size)
for _ in range(2):
    with launched() as ranks:
        print(ranks.size, ranks.sum_(torch.ones(2)).tolist())
print(dist.is_initialized(), current().size)
"""
    for process in well(start(program)):
        assert process.out == "1 2\n2 [2.0, 2.0]\n2 [2.0, 2.0]\nTrue 1\n"


def test_one_launch_after_the_other():
    program = """
import torch, torch.distributed as dist
from agop.launch import launched
for _ in range(3):
    with launched() as ranks:
        print(ranks.size, ranks.gather(str(ranks.rank)))
print(dist.is_initialized())
"""
    for process in well(start(program)):
        assert process.out == "2 ['0', '1']\n" * 3 + "False\n"


def test_no_thread_holds_a_tensor_that_was_shared():
    """One that did could not free it while the group was ended: torch before 2.8 holds Python's lock there, and both waited for ever."""
    program = """
import torch.distributed as dist
from agop.launch import launched
shared, all_reduce = [], dist.all_reduce
dist.all_reduce = lambda tensor, **options: (all_reduce(tensor, **options), shared.append(tensor))
with launched() as ranks:
    held = 0
    for _ in range(2000):
        ranks.barrier()
        held += shared.pop()._use_count() > 1
print(held)
"""
    for process in well(start(program)):
        assert process.out == "0\n"


def test_a_rank_that_is_early_for_the_next_launch_waits_for_it():
    """It came to the store of the last launch, which rank 0 still served, and was never seen in the next."""
    program = """
import os, time, torch.distributed as dist
from agop.launch import launched
if os.environ["RANK"] == "0":
    ended = dist.destroy_process_group
    dist.destroy_process_group = lambda: (time.sleep(0.5), ended())
for _ in range(3):
    with launched() as ranks:
        print(ranks.size)
"""
    for process in start(program):
        assert process.code == 0, process.err
        assert process.out == "2\n" * 3


def test_a_lost_rank_is_noticed_at_once():
    program = AND_THEN.format(event="os.kill(os.getpid(), signal.SIGKILL)")
    began = time.monotonic()
    survivor, lost = start(program, AGOP_DISTRIBUTED_TIMEOUT=60)
    assert time.monotonic() - began < 30
    assert lost.code == -9
    assert survivor.code == 3
    assert survivor.out.startswith("rank 0 lost another one")
    assert survivor.out.count("\n") == 1


def test_a_silent_rank_is_given_up_after_the_time_limit():
    program = AND_THEN.format(event="time.sleep(3)")
    began = time.monotonic()
    waiting, _ = start(program, AGOP_DISTRIBUTED_TIMEOUT=1)
    assert time.monotonic() - began < 30
    assert waiting.code == 3
    assert "took longer than 1 s" in waiting.out
