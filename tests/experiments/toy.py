"""A study of a few milliseconds: points that it generates, a theory without any, units that can be slow or kill their process."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Curve, Drawing
from agop.experiments.reproduce import Request, reproduce
from agop.experiments.statistics import per_seed
from agop.experiments.studies import STUDIES
from agop.experiments.study import Citation, Study
from agop.experiments.tables import write_table
from agop.experiments.units import Generated, Unit

HERE = "tests.experiments.toy"
LOG = "AGOP_TOY_LOG"
"""Names a file to which every computation adds a line."""


def blobs(seed, n, spread):
    """Two classes on a line."""
    rng, y = np.random.default_rng(seed), np.arange(n) % 2
    return spread * (2 * y - 1) + rng.normal(size=n), y


def measure(unit, folder):
    """The error of the sign of a point, and how far the class means are apart."""
    if LOG in os.environ:
        with open(os.environ[LOG], "a") as log:
            log.write(f"{unit.words} {unit.n} {os.getpid()}\n")
    time.sleep(unit.options.get("sleep", 0))
    again = folder / "begun"
    if unit.options.get("dies") == "always" or (unit.options.get("dies") == "once" and not again.exists()):
        again.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    x, y = unit.data.load(unit.seed)
    gap = float(x[y == 1].mean() - x[y == 0].mean())
    write_table(folder, "gap", pd.DataFrame({"step": [1, 2], "gap": [gap, gap / 2]}))
    return ["rough"] if unit.n == 20 else []


def predict(unit, folder):
    """What the gap is without noise."""
    write_table(folder, "gap", pd.DataFrame({"step": [1, 2], "gap": [4.0, 2.0]}))
    return []


def units(size, seed, data):
    yield Unit("predict", "theory", seed)
    for label, spread in (("near", 2.0), ("far", 5.0)):
        for n in (20, 40):
            points = Generated(label, f"{HERE}:blobs", n, {"spread": spread})
            yield Unit("measure", "measured", seed, points, OPTIONS)


OPTIONS: dict = {}


def gap(table):
    return per_seed(lambda rows: float(rows[rows["n"] == 40]["gap"].iloc[0]))(table)


def ratio(table):
    def of_one(rows):
        first = rows[(rows["n"] == 40) & (rows["step"] == 1)].set_index("data")["gap"]
        return float(first["far"] / first["near"])

    return per_seed(of_one)(table)


STUDY = Study(
    name="toy2024",
    title="Gaps of blobs",
    cite=Citation(authors="A. Author", title="Gaps", venue="Nowhere", year=2024),
    question="How far are two blobs apart?",
    work={"measure": f"{HERE}:measure", "predict": f"{HERE}:predict"},
    units=units,
    claims=(
        Claim(
            id="G1", group="paper", number=1, name="there is a gap", says="Blobs are apart.", tables=("measured/gap",),
            statistic="gap", measure=gap, relation=">=", threshold=1.0, because="less is the noise of a point", controls=("N1",),
        ),
        Claim(
            id="G2", group="beyond", number=1, name="it grows", says="Far blobs are farther.", tables=("measured/gap",), data="all",
            statistic="far over near", measure=ratio, relation=">=", threshold=1.5, because="half of what the spreads say",
        ),
        Claim(
            id="N1", group="control", number=1, name="no gap", says="The theory has a gap of 100.", tables=("theory/gap",),
            statistic="gap", measure=per_seed(lambda rows: float(rows["gap"].iloc[0])), relation=">=", threshold=100.0,
            because="a control", expected=FAILS,
        ),
    ),
    drawings=(
        Drawing(
            stem="gap", section="Gaps", title="Gap on {data}", caption="The gap by step, {data}", table="measured/gap", y="gap",
            x="step", series="n", names="{} points", labels=("step", "gap"), log="",
        ),
        Drawing(
            stem="both", section="Gaps", title="All gaps: {data}", caption="The gap by number of points", table="measured/gap",
            curves=(Curve(y="gap"),), x="n", series="data", labels=("points", "gap"), data="all", where={"step": 1},
        ),
    ),
    sizes=("smoke", "paper"),
)  # fmt: skip


def run(out: Path, seeds=(0, 1), **more):
    """Reproduce the toy in this process."""
    return reproduce(Request(studies=("toy2024",), seeds=seeds, **({"jobs": 1} | more)), out)


if __name__ == "__main__":
    STUDIES.add("toy2024", STUDY)
    OPTIONS["sleep"] = 0.3
    result = run(Path(sys.argv[1]), jobs=int(sys.argv[2]))
    print(" ".join(outcome.status for outcome in result.outcomes))
