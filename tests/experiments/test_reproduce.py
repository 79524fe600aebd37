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

from agop.experiments import pools
from agop.experiments.claims import FAILS, HOLDS, OPEN, Verdict, decide
from agop.experiments.planning import choices, plan
from agop.experiments.pools import Pool
from agop.experiments.reproduce import Request, reproduce
from agop.experiments.runner import run_unit, run_units
from agop.experiments.studies.beaglehole2024 import AMOUNTS, STUDY, theory
from agop.experiments.tables import read_table, table_file
from agop.experiments.units import DataSource, Generated, Unit
from agop.experiments.verdicts import headline
from tests.experiments.tiny import TINY, numbers, tiny

NAME = STUDY.name
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A whole tiny reproduction with two seeds."""
    saved = AMOUNTS["smoke"]
    out = tmp_path_factory.mktemp("reproduction") / "run"
    result = tiny(out, seeds=(0, 1))
    yield out, result
    AMOUNTS["smoke"] = saved


@pytest.fixture(autouse=True)
def _presets(monkeypatch):
    monkeypatch.setitem(AMOUNTS, "smoke", TINY)


def test_everything_ends_in_a_verdict(done):
    out, result = done
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    entries = json.loads((out / "verdicts.json").read_text())["verdicts"]
    assert [entry["id"] for entry in entries] == [claim.id for claim in STUDY.claims_of("smoke")]
    assert {entry["verdict"] for entry in entries} <= {HOLDS, FAILS, OPEN}
    by_id = {entry["id"]: entry for entry in entries}
    for identity in ("C5.1", "C6.1", "C6.2", "B10"):
        assert by_id[identity]["verdict"] == HOLDS, by_id[identity]
    for identity in ("N1", "N3", "N4", "N5", "N7"):
        assert by_id[identity]["verdict"] != HOLDS, by_id[identity]
    assert json.loads((out / "result.json").read_text())["headline"] == headline(result.verdicts)


def test_every_number_can_be_computed_again_from_the_named_files(done):
    out, _ = done
    claims = {claim.id: claim for claim in STUDY.claims_of("smoke")}
    for entry in json.loads((out / "verdicts.json").read_text())["verdicts"]:
        claim = claims[entry["id"]]
        assert entry["files"] == [table_file(NAME, "digits", name) for name in claim.tables]
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
            gathered = read_table(out / table_file(NAME, "digits", f"{unit.table}/{file.stem}"))
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
    folders = sorted((out / "units" / NAME).iterdir())
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
    result = tiny(out, "beaglehole2024:theory", seeds=(0, 1, 2))
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
        table = pd.read_csv(out / table_file(NAME, "digits", name))
        for _, rows in table.groupby(["seed", "points", "stage"]).groups.items():
            table.loc[rows, "layer"] = rng.permutation(table.loc[rows, "layer"].to_numpy()[::-1])
        tables[name] = table
    verdicts = [decide(c, tables) for c in STUDY.claims_of("smoke") if c.id in ("C1.1", "C1.2")]
    assert {verdict.verdict for verdict in verdicts} == {FAILS} or all(v.verdict != HOLDS for v in verdicts)
    honest = {v.claim.id: v for v in result.verdicts}
    assert honest["C1.1"].verdict == HOLDS


def test_identities_depend_on_all_that_decides_the_numbers_and_nothing_else():
    unit = Unit("control", "control/pca", 0, DataSource("digits", "abc", n_train=10), {"layers": 2})
    made = replace(unit, data=Generated("blobs", "m:f", 10, {"spread": 1}))
    others = [
        replace(unit, seed=1),
        replace(unit, study="other2024"),
        replace(unit, data=None),
        made,
        replace(made, data=replace(made.data, n=11)),
        replace(made, data=replace(made.data, parameters={"spread": 2})),
        replace(made, data=replace(made.data, make="m:g")),
        replace(unit, kind="deep-rfm"),
        replace(unit, options={"layers": 3}),
        replace(unit, data=replace(unit.data, fingerprint="abd")),
        replace(unit, data=replace(unit.data, n_train=11)),
    ]
    assert len({unit.id, *(other.id for other in others)}) == 12
    assert replace(unit, data=replace(unit.data, root="elsewhere")).id == unit.id
    assert unit.id in unit.folder.name


def test_a_failing_unit_leaves_the_others_alone(tmp_path):
    source = DataSource("digits", "abc", n_train=60)
    options = {"layers": 2, "width": 8, "rule": "identity"}
    good = Unit("control", "control/identity", 0, source, options, work=STUDY.work["control"])
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
    def broken(unit, folder):
        raise ValueError("no kernel today")

    monkeypatch.setattr(theory, "run_kernel", broken)
    result = tiny(tmp_path / "out", "beaglehole2024:theory")
    assert {v.claim.id for v in result.verdicts if v.verdict == OPEN} >= {"C6.1", "C6.2", "B10", "N7"}
    assert not (tmp_path / "out" / "result.json").exists()
    monkeypatch.undo()
    monkeypatch.setitem(AMOUNTS, "smoke", TINY)
    assert all(o.status != "failed" for o in tiny(tmp_path / "out", "beaglehole2024:theory").outcomes)
    assert (tmp_path / "out" / "result.json").exists()


def test_threads_come_back_and_programming_errors_are_not_swallowed(tmp_path, monkeypatch):
    import torch

    def wrong(unit, folder):
        assert torch.get_num_threads() == 3
        raise KeyError("a bug")

    before = torch.get_num_threads()
    monkeypatch.setattr(theory, "run_kernel", wrong)
    with pytest.raises(KeyError, match="a bug"):
        run_unit(
            Unit("kernel", "theory/kernel", 0, DataSource("digits", "x"), work=STUDY.work["kernel"]),
            str(tmp_path),
            threads=3,
        )
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_processes_give_the_same_bytes(done, tmp_path):
    tiny(tmp_path / "out", "beaglehole2024:theory", seeds=(0, 1), jobs=2)
    expected, found = numbers(done[0]), numbers(tmp_path / "out")
    found.pop("verdicts.json")
    found.pop("verdicts.csv")
    assert len(found) > 10
    assert {name: expected[name] for name in found} == found


def test_bad_requests_are_refused_in_one_sentence(tmp_path, monkeypatch):
    for changes, word in (
        ({"studies": ("everything",)}, "study"),
        ({"studies": ("beaglehole2024:everything",)}, "part"),
        ({"preset": "large"}, "preset"),
        ({"seeds": (0, 0)}, "seeds"),
        ({"data": ("digits", "digits")}, "data"),
    ):
        with pytest.raises(ValueError, match=word):
            reproduce(Request(**{"studies": ("beaglehole2024:theory",)} | changes), tmp_path)
    monkeypatch.setattr(pools, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ValueError, match="scheduler"):
        tiny(tmp_path, "beaglehole2024:theory", backend="dask", scheduler="tcp://127.0.0.1:1")


def test_headline_counts():
    claim = next(c for c in STUDY.claims_of("smoke") if c.id == "C6.1")
    control = next(c for c in STUDY.claims_of("smoke") if c.id == "N7")
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
        scheduled = plan(choices((NAME,), "smoke"), "smoke", (), (0, 1))

        def kill_one(done_units, total, outcome):
            if not killed:
                worker = next(iter(cluster.workers.values()))
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(worker.pid)

        outcomes = run_units(
            scheduled,
            tmp_path,
            pool=Pool(backend="dask", scheduler=cluster.scheduler_address),
            report=kill_one,
        )
    assert killed
    assert {outcome.status for outcome in outcomes} == {"done"}
    expected = {name: data for name, data in numbers(done[0]).items() if name.startswith("units")}
    found = {
        str(f.relative_to(tmp_path)): f.read_bytes()
        for f in tmp_path.rglob("*.csv")
        if f.parent.name != "network"
    }
    assert found == {name: data for name, data in expected.items() if name.endswith(".csv")}
