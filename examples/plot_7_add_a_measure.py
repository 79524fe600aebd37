r"""
Add a measure
=============

A measure of collapse is a function of class moments (counts, means, scatter), which are formed in one pass
over any number of batches. A new one is such a function and one entry in a registry that says what it is
called, what it needs, and where collapse lies. Profiles, reports, figures, the torchmetrics metric and the
Lightning callback find it there.

The example is the *margin ratio*: the radius of the widest class, :math:`\max_c \sqrt{V_c}` with
:math:`V_c = \frac{1}{n_c} \sum_{i \in c} \|h_i - \mu_c\|^2`, over half of the smallest distance between two
class means. Below 1, balls of these radii around the means are disjoint.
"""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

import agop
from agop.collapse import MEASURES, Measure

# %%
# What is undefined says so: a measurement is a number that knows its definition, or NaN with one sentence
# on why.


def margin_ratio(m: agop.ClassMoments) -> agop.Measurement:
    """Radius of the widest class over half of the smallest distance between two class means; 0 is collapse."""
    details = {"classes": len(m.present)}
    if len(m.present) < 2:
        return agop.Measurement.undefined(
            "margin_ratio", "margin", "fewer than two classes have samples", details
        )
    means = m.means[m.present]
    radius = math.sqrt(float((m.within[m.present] / m.counts[m.present]).max()))
    half = float(torch.pdist(means).min()) / 2
    if half == 0:
        return agop.Measurement.undefined("margin_ratio", "margin", "two class means are equal", details)
    return agop.Measurement(radius / half, "margin_ratio", "margin", details=details)


# %%
# The entry: its label, what it needs beyond class moments (nothing), the end at which collapse lies, its
# range, formula and source.

MEASURES["margin_ratio"] = Measure(
    name="margin_ratio",
    label="margin ratio",
    function=margin_ratio,
    needs=frozenset({"moments"}),
    direction="lower",
    range="[0, ∞)",
    formula="max_c √V_c / (½ min over c ≠ c' of ‖μ_c − μ_c'‖)",
    source="this example",
    weighted=False,
)

# %%
# It is now measured like the others, here at every stage of a Deep RFM, and in a collapse report.

X, y = load_digits(return_X_y=True)
X, y = StandardScaler().fit_transform(X)[:600], y[:600]
model = agop.DeepRFMClassifier(n_layers=6, width=512, random_state=0).fit(X, y)
profile = agop.profile(model, X, y, measures=["nc1", "margin_ratio"])
print(profile)

features = torch.as_tensor(model.transform(X))
print(agop.collapse_report(features, torch.as_tensor(y), measures=["nc1", "cdnv", "margin_ratio"]))

# %%
# Where the curve falls below 1, balls around the class means hold their classes' average points and do not
# touch.

profile.plot("margin_ratio").axes[0].axhline(1, color="0.4", linestyle="--")
plt.show()

# %%
# To bring it into the package: the function in a module of ``src/agop/collapse``, the entry in
# ``registry.py``, a slow version in ``tests/oracles/collapse.py`` with a case computed by hand, and a test
# class of two lines that inherits what every measure must satisfy. It runs on this very function:
#
# .. code-block:: python
#
#    class TestMarginRatio(MeasureConformance):
#        measure = MEASURES["margin_ratio"]
