from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agop.experiments import presets, runner, units
from agop.experiments.catalogue import claims_of
from agop.experiments.claims import FAILS, HOLDS, OPEN, Verdict, decide_all
from agop.experiments.presets import EXPERIMENTS, plan
from agop.experiments.reproduce import Request, headline, reproduce, table_file
from agop.experiments.runner import run_units
from agop.experiments.units import DataSource, Unit, read_table
from tests.experiments.tiny import TINY, numbers, tiny

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A whole tiny reproduction with two seeds."""
    saved = presets.PRESETS["smoke"], list(presets._WIDTHS), list(presets._SHIFTS)
    out = tmp_path_factory.mktemp("reproduction") / "run"
    result = tiny(out, seeds=(0, 1))
    yield out, result
    presets.PRESETS["smoke"], presets._WIDTHS[:], presets._SHIFTS[:] = saved


@pytest.fixture(autouse=True)
def _presets(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "smoke", TINY)


def test_everything_ends_in_a_verdict(done):
    out, result = done
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    entries = json.loads((out / "verdicts.json").read_text())["verdicts"]
    assert [entry["id"] for entry in entries] == [claim.id for claim in claims_of(EXPERIMENTS)]
    assert {entry["verdict"] for entry in entries} <= {HOLDS, FAILS, OPEN}
    by_id = {entry["id"]: entry for entry in entries}
    for identity in ("C5.1", "C6.1", "C6.2", "B10"):
        assert by_id[identity]["verdict"] == HOLDS, by_id[identity]
    for identity in ("N1", "N3", "N4", "N5", "N7"):
        assert by_id[identity]["verdict"] != HOLDS, by_id[identity]
    assert json.loads((out / "result.json").read_text())["headline"] == headline(result.verdicts)


def test_every_number_can_be_computed_again_from_the_named_files(done):
    out, _ = done
    claims = {claim.id: claim for claim in claims_of(EXPERIMENTS)}
    for entry in json.loads((out / "verdicts.json").read_text())["verdicts"]:
        claim = claims[entry["id"]]
        assert entry["files"] == [table_file("digits", name) for name in claim.tables]
        tables = [read_table(out / file) for file in entry["files"]]
        again = claim.measure(*tables)
        assert {str(seed): value for seed, value in again.items()} == pytest.approx(
            entry["values"] | {s: float("nan") for s, v in entry["values"].items() if v is None},
            rel=1e-12,
            nan_ok=True,
        )
        assert len(entry["units"]) >= 2
        for folder in entry["units"]:
            assert (out / folder / "result.json").is_file()


def test_gathered_tables_are_those_of_the_units(done):
    out, result = done
    for outcome in result.outcomes:
        unit = outcome.unit
        for file in (out / unit.folder).glob("*.csv"):
            gathered = read_table(out / table_file("digits", f"{unit.table}/{file.stem}"))
            own = gathered[gathered["seed"] == unit.seed].drop(columns="seed").reset_index(drop=True)
            pd.testing.assert_frame_equal(own, read_table(file), check_dtype=False)


def test_a_second_call_does_nothing_and_says_so(done):
    out, first = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = tiny(out, seeds=(0, 1))
    assert not again.worked
    assert repr([v.values for v in again.verdicts]) == repr([v.values for v in first.verdicts])
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_what_is_lost_is_made_again_byte_by_byte(done, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(done[0], out)
    before = numbers(out)
    folders = sorted((out / "units").iterdir())
    shutil.rmtree(folders[0])
    (folders[5] / "result.json").unlink()  # as if killed just before its end
    (folders[7] / "result.json").unlink()
    for file in folders[7].glob("*.csv"):
        file.unlink()
    (out / "result.json").unlink()
    result = tiny(out, seeds=(0, 1))
    assert sorted(o.status for o in result.outcomes).count("done") == 3
    assert numbers(out) == before


def test_seeds_can_be_added(done, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(done[0], out)
    result = tiny(out, "theory", seeds=(0, 1, 2))
    assert [o.status for o in result.outcomes] == ["there"] * 6 + ["done"] * 3
    assert all(len(v.values) == 3 for v in result.verdicts)


def test_another_preset_does_not_mix_with_it(done):
    with pytest.raises(ValueError, match="out"):
        reproduce(Request(preset="small", data=("digits",), seeds=(0,)), done[0])


def test_claims_fed_with_shuffled_data_do_not_hold(done):
    """The layers of every profile in another order: what falls with depth no longer does."""
    out, result = done
    rng = np.random.default_rng(0)
    tables = {}
    for name in ("deep-rfm/relu/profile", "deep-rfm/cosine/profile"):
        table = pd.read_csv(out / table_file("digits", name))
        for _, rows in table.groupby(["seed", "points", "stage"]).groups.items():
            table.loc[rows, "layer"] = rng.permutation(table.loc[rows, "layer"].to_numpy()[::-1])
        tables[name] = table
    verdicts = decide_all(tuple(c for c in claims_of(("deep-rfm",)) if c.id in ("C1.1", "C1.2")), tables)
    assert {verdict.verdict for verdict in verdicts} == {FAILS} or all(v.verdict != HOLDS for v in verdicts)
    honest = {v.claim.id: v for v in result.verdicts}
    assert honest["C1.1"].verdict == HOLDS


def test_identities_depend_on_all_that_decides_the_numbers_and_nothing_else():
    unit = Unit("control", "control/pca", 0, DataSource("digits", "abc", n_train=10), {"layers": 2})
    others = [
        replace(unit, seed=1),
        replace(unit, kind="deep-rfm"),
        replace(unit, options={"layers": 3}),
        replace(unit, data=replace(unit.data, fingerprint="abd")),
        replace(unit, data=replace(unit.data, n_train=11)),
    ]
    assert len({unit.id, *(other.id for other in others)}) == 6
    assert replace(unit, data=replace(unit.data, root="elsewhere")).id == unit.id
    assert unit.id in unit.folder.name


def test_a_failing_unit_leaves_the_others_alone(tmp_path):
    source = DataSource("digits", "abc", n_train=60)
    good = Unit("control", "control/identity", 0, source, {"layers": 2, "width": 8, "rule": "identity"})
    bad = replace(good, options={"layers": 2, "width": 8, "rule": "none"})
    seen = []
    outcomes = run_units(
        [bad, good], tmp_path, report=lambda done, total, o: seen.append((done, total, o.status))
    )
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert "rule" in outcomes[0].reason
    assert seen == [(1, 2, "failed"), (2, 2, "done")]
    assert [o.status for o in run_units([bad, good], tmp_path)] == ["failed", "there"]


def test_a_failed_unit_leaves_its_claims_open_and_the_reproduction_unfinished(tmp_path, monkeypatch):
    from agop.experiments import work

    def broken(unit, folder):
        raise ValueError("no kernel today")

    monkeypatch.setitem(work.WORK, "kernel", broken)
    result = tiny(tmp_path / "out", "theory")
    assert {v.claim.id for v in result.verdicts if v.verdict == OPEN} >= {"C6.1", "C6.2", "B10", "N7"}
    assert not (tmp_path / "out" / "result.json").exists()
    monkeypatch.undo()
    monkeypatch.setitem(presets.PRESETS, "smoke", TINY)
    assert all(o.status != "failed" for o in tiny(tmp_path / "out", "theory").outcomes)
    assert (tmp_path / "out" / "result.json").exists()


def test_threads_come_back_and_programming_errors_are_not_swallowed(tmp_path, monkeypatch):
    import torch

    from agop.experiments import work

    def wrong(unit, folder):
        assert torch.get_num_threads() == 3
        raise KeyError("a bug")

    before = torch.get_num_threads()
    monkeypatch.setitem(work.WORK, "kernel", wrong)
    with pytest.raises(KeyError, match="a bug"):
        units.run_unit(
            Unit("kernel", "theory/kernel", 0, DataSource("digits", "x")), str(tmp_path), threads=3
        )
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_processes_give_the_same_bytes(done, tmp_path):
    tiny(tmp_path / "out", "theory", seeds=(0, 1), jobs=2)
    expected, found = numbers(done[0]), numbers(tmp_path / "out")
    found.pop("verdicts.json")
    found.pop("verdicts.csv")
    assert len(found) > 10
    assert {name: expected[name] for name in found} == found


def test_bad_requests_are_refused_in_one_sentence(tmp_path, monkeypatch):
    for changes, word in (
        ({"experiment": "everything"}, "experiment"),
        ({"preset": "large"}, "preset"),
    ):
        with pytest.raises(ValueError, match=word):
            Request(**changes)
    with pytest.raises(ValueError, match="seeds"):
        plan(("theory",), TINY, ("digits",), (0, 0))
    with pytest.raises(ValueError, match="data"):
        plan(("theory",), TINY, ("digits", "digits"), (0,))
    monkeypatch.setattr(runner, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ValueError, match="scheduler"):
        tiny(tmp_path, "theory", dask="tcp://127.0.0.1:1")


def test_headline_counts():
    claim = next(c for c in claims_of(("theory",)) if c.id == "C6.1")
    control = next(c for c in claims_of(("theory",)) if c.id == "N7")
    verdicts = [
        Verdict(claim, "d", {}, HOLDS),
        Verdict(claim, "d", {}, FAILS),
        Verdict(control, "d", {}, FAILS),
    ]
    assert (
        headline(verdicts)
        == "Of 2 claims of the paper, 1 holds, 1 does not; 1 of 1 controls come out negative."
    )


@pytest.mark.slow
def test_a_dask_cluster_that_loses_a_worker(done, tmp_path):
    distributed = pytest.importorskip("distributed")
    killed = []

    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        env={"OMP_NUM_THREADS": "1"},
    ) as cluster:
        scheduled = plan(EXPERIMENTS, TINY, ("digits",), (0, 1))

        def kill_one(done_units, total, outcome):
            if not killed:
                worker = next(iter(cluster.workers.values()))
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(worker.pid)

        outcomes = run_units(scheduled, tmp_path, dask=cluster.scheduler_address, report=kill_one)
    assert killed
    assert {outcome.status for outcome in outcomes} == {"done"}
    expected = {name: data for name, data in numbers(done[0]).items() if name.startswith("units")}
    found = {
        str(f.relative_to(tmp_path)): f.read_bytes()
        for f in tmp_path.rglob("*.csv")
        if f.parent.name != "network"
    }
    assert found == {name: data for name, data in expected.items() if name.endswith(".csv")}
