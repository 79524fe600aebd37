"""Profiles: hostile subjects, samples, labels and options."""

from __future__ import annotations

import warnings

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
OF_STAGES = options("input", ["nowhere"], [], 3, [None])
STEPS = options("x", None, True, float("nan"), float("inf"), [1])
SIZES = options(0, -1, 1.5, "x", True, None)
INDICES = options("x", 1.5, True, 0, None)
MASKS = options("x", 3, [[1]]) | {
    "of other samples": lambda good: torch.ones(3, 2),
    "one axis": lambda good: torch.ones(8),
    "nothing counts": lambda good: torch.zeros(8, 2),
    "a function of nothing": lambda good: lambda item: None,
}
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


PROBE_NEEDS = options("magic", ["magic"], [3], 3, None)
PROBE_CASES = options(3, None, "x") | {
    "raises": lambda good: lambda e: 1 / 0,
    "a text": lambda good: lambda e: "x",
    "nothing": lambda good: lambda e: None,
    "NaN": lambda good: lambda e: float("nan"),
    "a vector": lambda good: lambda e: [1.0, 2.0],
}


def own(needs="moments", measure=lambda e: e.moments.n):
    return agop.Probe(name="own", needs=needs, measure=measure)


def kept(**options):
    return table(NET, POINTS, Y, measures=["dse"], options=agop.MeasureOptions(**options))


def old(x, y, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return table(NET, x, y, **more)


def table(subject, x, y, **more):
    profile = agop.profile(subject, x, y, **more)
    return [profile.table["layer"].tolist(), str(profile)]


def trained(**told):
    return table(agop.Network(NET, **told), POINTS, Y)


def trajectory(x=POINTS, y=Y, measures=("nc1",)):
    made = agop.Trajectory(x, y, measures=measures)
    made.record(NET, 1)
    return made


def recorded(x, y, measures=("nc1",), model=NET, step=1, **values):
    made = agop.Trajectory(x, y, measures=measures)
    made.record(model, step, **values)
    return [made.steps, str(made)]


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
    Subject("profile", "power", lambda v: old(POINTS, Y, power=v), 0.5, options("x", None, float("nan"), True, 0, -1, 1e300)),
    Subject("profile", "options", lambda v: table(NET, POINTS, Y, options=v), None, options(3, "x", {}, True)),
    Subject("Network", "model", lambda v: table(agop.Network(v), POINTS, Y), NET, MODELS),
    Subject("Network", "pool", lambda v: table(agop.Network(NET, pool=v), POINTS, Y), "mean", options("max", None, 3)),
    Subject("Network", "stages", lambda v: table(agop.Network(NET, stages=v), POINTS, Y), None, OF_STAGES),
    Subject("Network", "nonlinearity", lambda v: table(agop.Network(NET, nonlinearity=v), POINTS, Y), None, NONLINEARITIES),
    Subject("Network", "loss", lambda v: trained(loss=v, weight_decay=0.1), "cross_entropy", options("magic", None, 3)),
    Subject("Network", "weight_decay", lambda v: trained(loss="mse", weight_decay=v), 0.1, options(-1, "x", None)),
    Subject("Network", "initial", lambda v: trained(initial=v), None, options(3, "x", {}, [1], NET)),
    Subject("Network", "outputs", lambda v: table(agop.Network(NET, outputs=v), POINTS, Y), "auto", options("all", 0, -1, 1.5, [9], [])),
    Subject("Network", "mask", lambda v: table(agop.Network(NET, mask=v), POINTS, Y), None, MASKS),
    Subject("Network", "ignore_index", lambda v: table(agop.Network(NET, ignore_index=v), POINTS, Y), -100, INDICES),
    Subject("Network", "output", lambda v: table(agop.Network(NET, output=v), POINTS, Y), None, options("x", 99)),
    Subject("MeasureOptions", "rows", lambda v: kept(rows=v), 5, options("x", 0, -1, 1.5, True, 10**12)),
    Subject("MeasureOptions", "random_state", lambda v: kept(random_state=v), 0, options("x", -1, 1.5, True, None)),
    Subject("MeasureOptions", "max_memory", lambda v: kept(max_memory=v), "1GB", options("x", 0, -1, 1.5, True, "1", 1, None)),
    Subject("Need", "kind", lambda v: agop.Need(v).kind, "rows", options("magic", 3, None)),
    Subject("Probe", "needs", lambda v: table(NET, POINTS, Y, measures=[own(needs=v)]), "moments", PROBE_NEEDS),
    Subject("Probe", "measure", lambda v: table(NET, POINTS, Y, measures=[own(measure=v)]), len, PROBE_CASES),
    Subject("profile", "batch_size", lambda v: table(NET, POINTS, Y, batch_size=v), None, options(0, -1, 1.5, "x", True, 10**30)),
    Subject("network_views", "model", lambda v: of_views(agop.network_views(v, POINTS)), NET, MODELS),
    Subject("network_views", "X", lambda v: of_views(agop.network_views(NET, v)), POINTS),
    Subject("network_views", "layers", lambda v: of_views(agop.network_views(NET, POINTS, layers=v)), None, VIEW_LAYERS),
    Subject("network_views", "pool", lambda v: of_views(agop.network_views(NET, POINTS, pool=v)), None, options("max", None, 3)),
    Subject("network_views", "batch_size", lambda v: of_views(agop.network_views(NET, POINTS, batch_size=v)), None, SIZES),
    Subject("Trajectory", "X", lambda v: recorded(v, Y), POINTS),
    Subject("Trajectory", "y", lambda v: recorded(POINTS, v), Y, LABEL_CASES),
    Subject("Trajectory", "measures", lambda v: recorded(POINTS, Y, measures=v), ["nc1"], MEASURES),
    Subject("Trajectory.record", "model", lambda v: recorded(POINTS, Y, model=v), NET, MODELS),
    Subject("Trajectory.record", "step", lambda v: recorded(POINTS, Y, step=v), 3, STEPS),
    Subject("Trajectory.record", "values", lambda v: recorded(POINTS, Y, lr=v), 0.1, options("x", None, True, [1])),
    Subject("Trajectory.plot", "measure", lambda v: close(trajectory().plot(v)), None, options("nothing", 3)),
    Subject("Trajectory.plot", "against", lambda v: close(trajectory().plot(against=v)), "step", options("time", None)),
    Subject("Trajectory.plot", "width", lambda v: close(trajectory().plot(width=v)), 3.3, options("x", 0, float("nan"))),
    Subject("Trajectory.plot", "path", lambda v: close(trajectory().plot(path=v)), None, options("x.gif", "/nowhere/x.svg")),
    Subject("Profile.plot", "measure", lambda v: close(agop.profile(NET, POINTS, Y).plot(v)), None, options("nothing", 3, "layer")),
    Subject("Profile.drop_share", "first", lambda v: agop.profile(NET, POINTS, Y).drop_share(v), 1, options("x", None, 99), nan=True),
]  # fmt: skip


def close(figure):
    import matplotlib.pyplot as plt

    plt.close(figure)


test_rows = table_tests("profiles", SUBJECTS)
