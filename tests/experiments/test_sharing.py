"""Units that run at the same time: in workers of every kind, in two processes that share a directory, beside workers that die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from agop.experiments import rundir
from agop.experiments.pools import Pool
from agop.experiments.rundir import Held, RunDirectory
from agop.experiments.runner import run_unit, run_units
from agop.experiments.studies import STUDIES
from agop.experiments.tables import check_unit
from agop.experiments.units import Generated, Unit
from tests.experiments import toy
from tests.experiments.tiny import numbers

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no locks on this system")


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(STUDIES._lines, "toy2024", toy.STUDY)


def unit(seed, **options):
    points = Generated("near", f"{toy.HERE}:blobs", 40, {"spread": 2.0})
    return Unit("measure", "measured", seed, points, options, study="toy2024", work=toy.STUDY.work["measure"])


@pytest.mark.parametrize(
    "backend", ["loky", "threading", pytest.param("multiprocessing", marks=pytest.mark.slow)]
)
def test_any_number_of_workers_of_any_kind_writes_the_same_files(backend, tmp_path):
    toy.run(tmp_path / "one")
    result = toy.run(tmp_path / "two", jobs=2, backend=backend)
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    assert numbers(tmp_path / "two") == numbers(tmp_path / "one")
    assert not toy.run(tmp_path / "two", jobs=2, backend=backend).worked


@pytest.mark.parametrize(("dies", "status"), [("always", "failed"), ("once", "done")])
@pytest.mark.slow
def test_a_worker_that_dies_costs_its_unit_only_and_that_after_a_retry(dies, status, tmp_path):
    units = [unit(0), unit(1, dies=dies), *(unit(seed) for seed in range(2, 6))]
    outcomes = run_units(units, tmp_path, pool=Pool(jobs=2))
    assert outcomes[1].status == status
    others = {outcome.status for outcome in outcomes if outcome.unit.seed != 1}
    assert others <= {"done", "there"}  # "there": done by the time another worker died, and not told any more
    if status == "failed":
        assert "died" in outcomes[1].reason
    for outcome in outcomes:
        if outcome.status != "failed":
            check_unit(tmp_path / outcome.unit.folder)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_two_processes_on_one_directory_do_every_unit_once(jobs, tmp_path):
    out, log = tmp_path / "run", tmp_path / "log"
    environment = os.environ | {toy.LOG: str(log), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.experiments.toy", str(out), str(jobs)]
    both = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = []
    for process in both:
        words, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        said.append(words.split())
    begun = Counter(line.rpartition(" ")[0] for line in log.read_text().splitlines())
    assert len(begun) == 8
    assert set(begun.values()) == {1}, begun
    for mine, other in zip(*said, strict=True):
        assert {mine, other} <= {"done", "there"}
        assert (mine, other) != ("done", "done")
    assert json.loads((out / "result.json").read_text())["units"]
    toy.run(tmp_path / "alone")
    expected = {
        name.rpartition("/")[2]: data
        for name, data in numbers(tmp_path / "alone").items()
        if "tables" in name
    }
    found = {name.rpartition("/")[2]: data for name, data in numbers(out).items() if "tables" in name}
    assert found == expected


@pytest.mark.slow
def test_a_unit_that_another_process_holds_is_put_off_then_waited_for(tmp_path):
    first, second = unit(0, sleep=0.2), unit(1)
    with RunDirectory(tmp_path / first.folder, "unit", {"id": first.id}):
        assert run_unit(first, str(tmp_path), wait=False).status == "held"
        with pytest.raises(Held, match="another process"):
            RunDirectory(tmp_path / first.folder, "unit", {"id": first.id})
    program = (
        "import sys; from pathlib import Path; from agop.experiments.runner import run_units\n"
        "from tests.experiments.test_sharing import unit\n"
        "print([o.status for o in run_units([unit(0, sleep=2)], Path(sys.argv[1]))])"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "out")], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    slow = unit(0, sleep=2)
    while not (tmp_path / "out" / slow.folder / "config.json").exists():
        assert other.poll() is None
    seen = []
    outcomes = run_units(
        [slow, second], tmp_path / "out", report=lambda done, total, o: seen.append(o.status)
    )
    assert [outcome.status for outcome in outcomes] == ["there", "done"]
    assert seen == ["done", "there"]
    assert "done" in other.communicate(timeout=60)[0]


def test_without_locks_units_run_one_after_the_other_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir, "_lock", lambda folder, wait: None)
    with pytest.raises(ValueError, match="no locks"):
        toy.run(tmp_path / "run", jobs=2)
    result = toy.run(tmp_path / "run", jobs=1)
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    assert "no locks" in result.notes[0]
    assert "no locks" in json.loads((tmp_path / "run" / "result.json").read_text())["notes"][0]
    assert toy.run(tmp_path / "other", jobs=None).notes == result.notes


def test_a_reproduction_of_the_last_release_is_never_written_to(tmp_path):
    out = tmp_path / "old"
    out.mkdir()
    options = {"preset": "smoke", "data": ["digits"]}
    config = {"format": 1, "kind": "reproduce", "id": "x", "options": options, "versions": {"agop": "0.1.0"}}
    (out / "config.json").write_text(json.dumps(config))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"agop 0\.1\.0 wrote.*agop report"):
        toy.run(out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_pool_says_what_is_wrong_with_it():
    for changes, word in (
        ({"jobs": 0}, "jobs"),
        ({"backend": "magic"}, "backend"),
        ({"backend": "dask"}, "scheduler"),
        ({"scheduler": "tcp://h:1"}, "scheduler"),
    ):
        with pytest.raises(ValueError, match=word):
            Pool(**changes)


def test_a_backend_that_somebody_registered_is_taken():
    from joblib import parallel

    parallel.register_parallel_backend("mine", parallel.BACKENDS["threading"])
    try:
        assert Pool(jobs=2, backend="mine").several
    finally:
        del parallel.BACKENDS["mine"]


@pytest.mark.parametrize("backend", ["loky", pytest.param("multiprocessing", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(backend, tmp_path):
    code = f"""
from tests.experiments import toy
from agop.experiments.pools import Pool
from agop.experiments.runner import run_units
from tests.experiments.test_sharing import unit
run_units([unit(seed, sleep=60) for seed in range(2)], {str(tmp_path)!r}, pool=Pool(jobs=2, backend={backend!r}))
"""
    log = tmp_path / "log"
    environment = os.environ | {toy.LOG: str(log), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment)
    deadline = time.monotonic() + 60
    while not log.exists() or len(log.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline, "the units did not begin"
        time.sleep(0.05)
    workers = [psutil.Process(int(line.split()[-1])) for line in log.read_text().splitlines()]
    process.kill()
    process.wait(20)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
