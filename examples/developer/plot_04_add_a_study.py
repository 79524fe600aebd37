r"""
Add a study
===========

A study is one paper as data: what is computed, what is claimed of it, and how it is drawn. It is one file; seeds,
directories, tables, verdicts, figures, the page, parallel workers and resuming after a kill come from
`agop reproduce`.

The example asks whether the AGOP of a Recursive Feature Machine finds the two features out of ten that a
target depends on. It runs in seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import agop
from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Curve, Drawing
from agop.experiments.reproduce import Request, reproduce
from agop.experiments.statistics import per_seed
from agop.experiments.studies import STUDIES
from agop.experiments.study import Citation, Study
from agop.experiments.tables import write_table
from agop.experiments.units import Generated, Unit
from agop.report.reproduction import write_reproduction

# %%
# What is computed: points that a function makes from a seed, and the *work* of a unit, which writes tables into
# the folder that it is given and returns notes. Columns `seed` and `data` are added where tables are gathered.


def product(seed, n):
    """Ten features; the target is the product of the first two."""
    x = np.random.default_rng(seed).normal(size=(n, 10))
    return x, x[:, 0] * x[:, 1]


def fit(unit, folder):
    """Table `share`: share of the AGOP's trace on two features, by iteration."""
    x, y = unit.data.load(unit.seed)
    if unit.options["shuffled"]:
        y = np.random.default_rng(unit.seed).permutation(y)
    rows = []
    for n in range(1, 6):
        weights = (
            agop.RFMRegressor(n_iter=n, bandwidth=5.0).fit(x, y).agop_.diagonal()
        )
        rows.append(
            {"iteration": n, "share": float(weights[:2].sum() / weights.sum())}
        )
    write_table(folder, "share", pd.DataFrame(rows))
    return []


# %%
# The units of one seed: the real one, and a control in which nothing can be found.


def units(size, seed, data):
    """A fit to the target, and one to the same numbers in another order."""
    points = Generated("product", f"{__name__}:product", n=200)
    yield Unit("fit", "target", seed, points, {"shuffled": False})
    yield Unit("fit", "shuffled", seed, points, {"shuffled": True})


# %%
# What is claimed. A claim names its number, its threshold, why it is that, and the control that shows that the number can come
# out negative, all before anything is run. The drawing is data, too.

last = per_seed(lambda rows: rows["share"].iloc[-1])

CLAIM = Claim(
    id="C1",
    group="paper",
    number=1,
    name="AGOP finds the features",
    says="The AGOP of a fitted RFM lies on the features of the target.",
    tables=("target/share",),
    statistic="their share of the AGOP's trace after five iterations",
    measure=last,
    relation=">=",
    threshold=0.9,
    because="a tenth is left to chance, which alone gives 0.2: two features of ten",
    controls=("N1",),
)
CONTROL = Claim(
    id="N1",
    group="control",
    number=1,
    name="shuffled target",
    says="It lies there when the targets are shuffled as well.",
    tables=("shuffled/share",),
    statistic="the same share",
    measure=last,
    relation=">=",
    threshold=0.9,
    because="the threshold of C1",
    expected=FAILS,
)
DRAWING = Drawing(
    stem="share",
    section="Features",
    title="Share of the AGOP on the two features",
    caption="Share of the AGOP's trace on the features of the target, by iteration",
    curves=(
        Curve(y="share", name="target", table="target/share"),
        Curve(y="share", name="shuffled", table="shuffled/share"),
    ),
    x="iteration",
    labels=("iteration", "share"),
    log="",
)

STUDY = Study(
    name="radhakrishnan2022",
    title="Features that an RFM finds",
    cite=Citation(
        authors="Adityanarayanan Radhakrishnan, Daniel Beaglehole, Parthe Pandit, "
        "Mikhail Belkin",
        title="Feature learning in neural networks and kernel machines that "
        "recursively learn features",
        venue="Preprint",
        year=2022,
        arxiv="2212.13881",
    ),
    question="Does the AGOP of a kernel machine find what a target depends on?",
    work={"fit": f"{__name__}:fit"},
    units=units,
    claims=(CLAIM, CONTROL),
    drawings=(DRAWING,),
    sizes=("smoke",),
)

# %%
# That is all. Registered for this process, it is run as `agop reproduce radhakrishnan2022` would run it.

STUDIES.add("radhakrishnan2022", STUDY)
with tempfile.TemporaryDirectory() as folder:
    result = reproduce(Request(studies=("radhakrishnan2022",), jobs=1), folder)
    for verdict in result.verdicts:
        print(
            f"{verdict.claim.id}  {verdict.claim.says}  "
            f"{verdict.mean:.3f} ± {verdict.std:.3f}: {verdict.verdict}"
        )
    page = write_reproduction(folder)
    print(f"The page has {len(page.read_text(encoding='utf-8')) // 1000} kB.")
    image = plt.imread(
        Path(folder, "figures", "radhakrishnan2022", "product", "share.png")
    )
STUDIES.remove("radhakrishnan2022")

# %%
# The claim holds: practically all of the AGOP's trace lies on the two features. The control
# fails, as it should: with shuffled targets a quarter lies there, not far from the
# fifth that chance gives, so the number can come out negative. The page is one file, with the figure:

figure, axes = plt.subplots(
    figsize=(7, 7 * image.shape[0] / image.shape[1]), layout="constrained"
)
axes.imshow(image)
axes.axis("off")
plt.show()

# %%
# In a file of its own the study needs two changes: torch, NumPy, pandas, matplotlib and the estimators are imported within
# `product` and `fit`, so that `agop reproduce --list` waits for none of them, and its name stands in the registry,
# or in the entry points of another package. CONTRIBUTING shows both.
