"""Profiles: hostile subjects, samples, labels and options."""

from __future__ import annotations

import torch

import agop
from agop import LayerView
from tests.hostile.table import Subject, options, table_tests
from tests.hostile.test_collapse import LABEL_CASES
from tests.hostile.test_gradients import MODELS, NET
from tests.hostile.test_gradients import X as POINTS

Y = torch.arange(8) % 3
VIEWS = [LayerView("a", POINTS, POINTS, POINTS.relu())]
DEEP = agop.DeepRFMClassifier(n_layers=2, width=6, random_state=0).fit(POINTS.numpy(), Y.numpy())
LAYERS = options("", "nowhere", [], [0], [9], [-1], [1.5], ["0", 1], 3, [None], "9")
MEASURES = options([], ["nothing"], "nc1", ["nc4"], ["nc1", "nc1"], [None], 3, ["effective_rank"])
NONLINEARITIES = options({"nowhere": None}, {"0": "nowhere"}, {"0": 3}, "relu", {0: None}) | {
    "a sum": lambda good: {"0": torch.sum}
}
VIEW_LAYERS = options("nowhere", [], [7.5], 3, [None])
SIZES = options(0, -1, 1.5, "x", True, None)
SUBJECTS_CASES = {
    **MODELS,
    "a number": lambda good: 3,
    "an unfitted Deep RFM": lambda good: agop.DeepRFMClassifier(),
    "an RFM": lambda good: agop.RFMClassifier(n_iter=0).fit(POINTS.numpy(), Y.numpy()),
    "no views": lambda good: [],
    "views that are none": lambda good: [1, 2],
    "a text": lambda good: "net",
    "views of other samples": lambda good: [LayerView("a", POINTS[:3], None, POINTS[:3])],
    "views with NaN": lambda good: [LayerView("a", POINTS * float("nan"), None, POINTS)],
}


def table(subject, x, y, **more):
    profile = agop.profile(subject, x, y, **more)
    return [profile.table["layer"].tolist(), str(profile)]


def of_views(views):
    return [[view.input, view.output, view.feature_matrix, view.agop] for view in views]


SUBJECTS = [
    Subject("profile", "subject", lambda v: table(v, POINTS, Y), NET, SUBJECTS_CASES),
    Subject("profile", "X", lambda v: table(NET, v, Y), POINTS),
    Subject("profile", "X of a Deep RFM", lambda v: table(DEEP, v, Y), POINTS),
    Subject("profile", "y", lambda v: table(NET, POINTS, v), Y, LABEL_CASES),
    Subject("profile", "y of views", lambda v: table(VIEWS, None, v), Y, LABEL_CASES),
    Subject("profile", "layers", lambda v: table(NET, POINTS, Y, layers=v), None, LAYERS),
    Subject("profile", "layers of a Deep RFM", lambda v: table(DEEP, POINTS, Y, layers=v), None, LAYERS),
    Subject("profile", "measures", lambda v: table(NET, POINTS, Y, measures=v), None, MEASURES),
    Subject("profile", "measures of views", lambda v: table(VIEWS, None, Y, measures=v), None, MEASURES),
    Subject("profile", "pool", lambda v: table(NET, POINTS, Y, pool=v), "mean", options("max", None, 3)),
    Subject("profile", "nonlinearity", lambda v: table(NET, POINTS, Y, nonlinearity=v), None, NONLINEARITIES),
    Subject("profile", "power", lambda v: table(NET, POINTS, Y, power=v), 0.5, options("x", None, float("nan"), True, 0, -1, 1e300)),
    Subject("profile", "outputs", lambda v: table(NET, POINTS, Y, outputs=v), "auto", options("all", 0, -1, 1.5, [9], [])),
    Subject("profile", "batch_size", lambda v: table(NET, POINTS, Y, batch_size=v), None, options(0, -1, 1.5, "x", True, 10**30)),
    Subject("network_views", "model", lambda v: of_views(agop.network_views(v, POINTS)), NET, MODELS),
    Subject("network_views", "X", lambda v: of_views(agop.network_views(NET, v)), POINTS),
    Subject("network_views", "layers", lambda v: of_views(agop.network_views(NET, POINTS, layers=v)), None, VIEW_LAYERS),
    Subject("network_views", "pool", lambda v: of_views(agop.network_views(NET, POINTS, pool=v)), None, options("max", None, 3)),
    Subject("network_views", "batch_size", lambda v: of_views(agop.network_views(NET, POINTS, batch_size=v)), None, SIZES),
    Subject("Profile.plot", "measure", lambda v: close(agop.profile(NET, POINTS, Y).plot(v)), None, options("nothing", 3, "layer")),
    Subject("Profile.drop_share", "first", lambda v: agop.profile(NET, POINTS, Y).drop_share(v), 1, options("x", None, 99), nan=True),
]  # fmt: skip


def close(figure):
    import matplotlib.pyplot as plt

    plt.close(figure)


test_row = table_tests("profiles", SUBJECTS)
