"""The pictures of the primer, drawn from what the package computes: `python docs/primer_pictures.py`.

They carry their own white background, so that they read on light and dark pages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Ellipse
from sklearn.datasets import load_digits

import agop

HERE = Path(__file__).parent / "_static" / "primer"
BLUE, ORANGE, GREEN, GREY, INK = "#0067a5", "#b84a00", "#007a5a", "#8a8a8a", "#1a1a1a"
STYLE: dict[str, Any] = {
    "svg.hashsalt": "agop", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "axes.titlesize": 12,
    "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white", "axes.edgecolor": GREY, "text.color": INK,
    "axes.labelcolor": INK,
}  # fmt: skip
GRID = np.stack(np.meshgrid(np.linspace(-2, 2, 81), np.linspace(-2, 2, 81)), -1).reshape(-1, 2)
FUNCTIONS = {
    "f = sin 2x₁": lambda x: torch.sin(2 * x[:, :1]),
    "f = sin (x₁ + x₂)": lambda x: torch.sin(x.sum(1, keepdim=True)),
    "f = x₁ x₂": lambda x: x[:, :1] * x[:, 1:],
}


def ellipse(ax: Any, M: np.ndarray, *, radius: float = 1.5, **style: Any) -> None:
    """The ellipse whose half axes are the eigenvectors of M, with lengths in the ratio of the roots of its eigenvalues."""
    values, vectors = np.linalg.eigh(M)
    roots = np.sqrt(values.clip(0) / values.max())
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    ax.add_patch(
        Ellipse(
            (0, 0), 2 * radius * roots[1], max(2 * radius * roots[0], 0.05), angle=angle, fill=False, **style
        )
    )


def square(ax: Any, title: str) -> None:
    ax.set(xlim=(-2, 2), ylim=(-2, 2), xticks=[-2, 0, 2], yticks=[-2, 0, 2], aspect="equal", title=title)
    ax.set_xlabel("x₁", labelpad=1)
    ax.set_ylabel("x₂", labelpad=-4)


def surface(ax: Any, values: np.ndarray) -> None:
    top = np.abs(values).max()
    ax.imshow(
        values.reshape(81, 81), origin="lower", extent=(-2, 2, -2, 2), cmap="RdBu_r", alpha=0.6, vmin=-top, vmax=top,
        interpolation="bilinear",
    )  # fmt: skip


def gradients() -> Any:
    """Three functions, their gradients at points, and the ellipse of the AGOP."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
    points = torch.as_tensor(np.random.default_rng(0).normal(size=(400, 2)).clip(-2, 2))
    for ax, (title, f) in zip(axes, FUNCTIONS.items(), strict=True):
        M = agop.agop(f, points).numpy()
        surface(ax, f(torch.as_tensor(GRID)).numpy())
        few = points[:40].clone().requires_grad_()
        (arrows,) = torch.autograd.grad(f(few).sum(), few)
        at, to = few.detach().numpy(), arrows.numpy()
        ax.quiver(*at.T, *to.T, color=INK, width=0.006, scale=22)
        ellipse(ax, M, color=ORANGE, linewidth=3)
        square(ax, title)
    return figure


def recursion() -> Any:
    """Four fits of an RFM to a target that hangs on x₁ + x₂ alone."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-2, 2, (60, 2))
    y = np.sin(2.2 * X.sum(1)) + 0.15 * rng.normal(size=60)
    Z = rng.uniform(-2, 2, (2000, 2))
    truth = np.sin(2.2 * Z.sum(1))
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), layout="constrained")
    for steps, ax in enumerate(axes):
        model = agop.RFMRegressor(n_iter=steps, power=0.5, ridge=0.01, bandwidth=2.0, scale="trace").fit(X, y)
        surface(ax, model.predict(GRID))
        ax.scatter(*X.T, c=y, cmap="RdBu_r", edgecolor=INK, linewidth=0.6, s=22)
        M = model.predictor_agop_.numpy()
        ellipse(ax, M, color=ORANGE, linewidth=3)
        square(ax, f"fit {steps + 1}: R² {1 - np.mean((model.predict(Z) - truth) ** 2) / truth.var():.2f}")
    return figure


def collapse() -> Any:
    """NC1 to NC5, one drawing each."""
    rng = np.random.default_rng(3)
    angles = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
    means = np.stack([np.cos(angles), np.sin(angles)], 1)
    colours = (BLUE, ORANGE, GREEN)
    figure, axes = plt.subplots(1, 5, figsize=(14, 3.3), layout="constrained")
    for ax, title in zip(
        axes,
        (
            "NC1: classes\nbecome points",
            "NC2: means are\nequally far apart",
            "NC3: the classifier's\nrows are the means",
            "NC4: the nearest\nmean decides",
            "NC5: other data lie\naway from all means",
        ),
        strict=True,
    ):
        ax.set(xlim=(-1.7, 1.7), ylim=(-1.5, 1.7), aspect="equal", xticks=[], yticks=[], title=title)
        ax.spines[:].set_visible(False)
    for mean, colour in zip(means, colours, strict=True):
        wide, tight = mean + 0.28 * rng.normal(size=(25, 2)), mean + 0.05 * rng.normal(size=(25, 2))
        axes[0].scatter(*wide.T, s=10, color=colour, alpha=0.25)
        axes[0].scatter(*tight.T, s=10, color=colour)
        for ax in axes[1:3]:
            ax.annotate("", mean, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2.5})
        axes[2].annotate(
            "", 1.45 * mean, (0, 0), arrowprops={"arrowstyle": "-|>", "color": GREY, "linestyle": ":"}
        )
        axes[3].scatter(*mean, s=70, color=colour, marker="P", edgecolor=INK)
        axes[4].scatter(*(mean + 0.05 * rng.normal(size=(25, 2))).T, s=10, color=colour)
    for k in range(3):
        axes[1].plot(*means[[k, (k + 1) % 3]].T, color=GREY, linestyle="--", linewidth=1)
        axes[3].plot([0, -1.6 * means[k, 0]], [0, -1.6 * means[k, 1]], color=GREY, linewidth=1)
    axes[3].scatter(0.35, 0.75, s=45, color=INK)
    axes[3].annotate("", 0.85 * means[0], (0.35, 0.75), arrowprops={"arrowstyle": "->", "color": INK})
    axes[4].scatter(*(0.12 * rng.normal(size=(25, 2))).T, s=12, color=INK, marker="x")
    return figure


def depth() -> Any:
    """NC1 through the layers of a Deep RFM on digits."""
    X, y = load_digits(return_X_y=True)
    model = agop.DeepRFMClassifier(n_layers=5, width=256, random_state=0).fit(X[:600] / 16, y[:600])
    table = agop.profile(model, X[:600] / 16, y[:600]).to_frame()
    rows = table[table["stage"].isin(["input", "projected", "output"])]
    figure, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
    places, values = np.arange(len(rows)), rows["nc1"].to_numpy(dtype=float)
    ax.plot(places, values, color=GREY, linewidth=1)
    for stage, colour, marker in (("input", BLUE, "o"), ("projected", ORANGE, "s"), ("output", GREEN, "^")):
        own = (rows["stage"] == stage).to_numpy()
        ax.scatter(places[own], values[own], color=colour, marker=marker, s=55, zorder=3, label=stage)
    layers = rows["layer"].to_numpy()
    first = [int(np.flatnonzero(layers == layer)[0]) for layer in dict.fromkeys(layers)]
    ax.set(yscale="log", ylabel="NC1: spread within over between", xticks=[place + 1 for place in first])
    ax.set_xticklabels([f"layer {k + 1}" for k in range(len(first))])
    ax.legend(frameon=False)
    return figure


PICTURES = {"gradients": gradients, "recursion": recursion, "collapse": collapse, "depth": depth}


def main(folder: Path = HERE) -> None:
    """Draw all pictures into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, draw in PICTURES.items():
            figure = draw()
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    main()
