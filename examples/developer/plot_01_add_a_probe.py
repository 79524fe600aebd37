r"""
Add a probe
===========

A probe is a measurement: a function of evidence, and a record that says what it is called, what it needs and where
collapse lies. The evidence of a stage holds its class moments (counts, means, scatter), which are formed in one pass
over any number of batches, or whatever else the probe asks for: rows, labels, a classifier's weight. Profiles,
reports, figures and files take it as it is.

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

# %%
# What is undefined says so: a measurement is a number that knows its definition, or NaN with one sentence
# on why.


def margin_ratio(m: agop.ClassMoments) -> agop.Measurement:
    """Radius of the widest class over half of the smallest gap; 0 is collapse."""
    details = {"classes": len(m.present)}
    if len(m.present) < 2:
        return agop.Measurement.undefined(
            "margin_ratio", "margin", "fewer than two classes have samples", details
        )
    means = m.means[m.present]
    radius = math.sqrt(float((m.within[m.present] / m.counts[m.present]).max()))
    half = float(torch.pdist(means).min()) / 2
    if half == 0:
        return agop.Measurement.undefined(
            "margin_ratio", "margin", "two class means are equal", details
        )
    return agop.Measurement(
        radius / half, "margin_ratio", "margin", details=details
    )


# %%
# The probe: its label, what it needs (class moments), its axis, the end at which collapse lies, its range,
# formula and source, and what leaves it as it is: the conformance suite checks these, and that nothing else does.

MARGIN_RATIO = agop.Probe(
    name="margin_ratio",
    label="margin ratio",
    measure=lambda e: margin_ratio(e.moments),
    needs={"moments"},
    meaning="radius of the widest class over half of the smallest gap; "
    "below 1 the classes lie apart",
    scale="log",
    towards="lower",
    range="[0, ∞)",
    formula="max_c √V_c / (½ min over c ≠ c' of ‖μ_c − μ_c'‖)",
    source="this example",
    invariant={"order", "labels", "shift", "rotation", "scale", "batches"},
)

# %%
# It is measured like the others, here at every stage of a Deep RFM, and in a collapse report.

X, y = load_digits(return_X_y=True)
X, y = StandardScaler().fit_transform(X)[:600], y[:600]
model = agop.DeepRFMClassifier(n_layers=6, width=512, random_state=0).fit(X, y)
profile = agop.profile(model, X, y, measures=["nc1", MARGIN_RATIO])
print(profile)

features = torch.as_tensor(model.transform(X))
print(
    agop.collapse_report(
        features, torch.as_tensor(y), measures=["nc1", "cdnv", MARGIN_RATIO]
    )
)

# %%
# The margin ratio falls by layer, as NC1 does, and passes 1 at the second projection. In
# the report it stands below the others, with its formula.
#
# Where the curve falls below 1, balls around the class means hold their classes' average points and do not
# touch.

profile.plot("margin_ratio").axhline(1, color="0.4", linestyle="--")
plt.show()

# %%
# To bring it into the package: the probe in a file of ``src/agop/probes``, its line in ``PROBES``, and a case
# computed by hand in a test. Being registered, it runs through everything that every probe must satisfy
# (``tests/conformance/probes.py``). Another package registers its probes through the entry-point group
# ``agop.probes``.
