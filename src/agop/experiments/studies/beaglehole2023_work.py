"""What `beaglehole2023` computes: convolutional networks and their patch AGOPs, ConvRFMs in noise, stages of a Deep ConvRFM.

nfa.csv        one row for each convolution of a network: filters against patch AGOPs
scores.csv     one row for each noise and iteration: accuracies, and which iteration was chosen
edges.csv      one row: how much of the edge filters lies in the top eigenvectors of M
accuracy.csv   one row for each machine: kernel, ConvRFM, Deep ConvRFM
profile.csv    NC1 by stage of a Deep ConvRFM
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agop._checks import bad_value
from agop.datasets import DATA
from agop.datasets.in_noise import in_noise
from agop.experiments.images import Images
from agop.experiments.patch_pictures import write_patches
from agop.experiments.tables import write_table
from agop.experiments.units import DataSource, Unit
from agop.gradients.ansatz import nfa, nfm
from agop.gradients.layers import layer_agops
from agop.gradients.patches import conv_nfa
from agop.machines.conv_rfm import ConvRFMClassifier
from agop.machines.deep_conv_rfm import DeepConvRFMClassifier
from agop.networks.streams import stream
from agop.networks.training import Training, evaluate, train
from agop.profiles.profile import profile

_NETWORK, _NOISE, _LABELS, _ROTATION = 21, 22, 23, 24
"""Uses of a unit's seed."""

FEW = 10
"""The images with which the paper estimates the AGOP of early layers."""

TOP = 3
"""Eigenvectors of M among which edge filters are looked for."""


def run_networks(unit: Unit, folder: Path) -> list[str]:
    """Train a network of convolutions, and compare filters and patch AGOPs before and after."""
    told, (x, y, x_test, y_test) = dict(unit.options), _points(unit)
    net = network(x, int(y.max()) + 1, told["widths"], told["init_gain"], unit.seed)
    rows, layers = (
        x[: told["rows"]],
        [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d)],
    )
    before, first = layer_agops(net, rows, nn.Conv2d), conv_nfa(net, rows)
    training = Training(
        epochs=told["epochs"], batch_size=32, lr=0.05, momentum=0.9, weight_decay=5e-4, loss="cross-entropy", seed=unit.seed
    )  # fmt: skip
    for _ in train(net, x, y, training):
        pass
    net.eval()
    after, few, half = conv_nfa(net, rows), conv_nfa(net, rows[:FEW]), conv_nfa(net, rows, power=0.5)
    filters = dict(net.named_modules())
    _, accuracy = evaluate(net, x_test, y_test, "cross-entropy")
    table = [
        {
            "layer": number, "trained": after[name], "untrained": first[name], "few": few[name], "half": half[name],
            "mismatched": nfa(nfm(filters[name]), before[name], power=1), "test_accuracy": accuracy,
        }
        for number, name in enumerate(layers, start=1)
    ]  # fmt: skip
    write_table(folder, "nfa", pd.DataFrame(table))
    found = {
        "filters WᵀW": nfm(filters[layers[0]]).float(),
        "patch AGOP": layer_agops(net, rows, layers[0])[layers[0]].float(),
        "AGOP, untrained": before[layers[0]].float(),
    }
    write_patches(folder, found, x_test[:6], padding="same")
    return []


def network(
    x: Float[Tensor, "n c h w"], n_classes: int, widths: list[int], gain: float, seed: int
) -> nn.Sequential:
    """Convolutions of 3×3 without bias or pooling, each before a ReLU, and a linear map; He initialisation times `gain`."""
    generator, channels = stream(seed, _NETWORK), x.shape[1]
    parts: list[nn.Module] = []
    for width in widths:
        convolution = nn.utils.skip_init(nn.Conv2d, channels, width, 3, padding=1, bias=False)
        nn.init.normal_(convolution.weight, std=gain * (2 / (9 * channels)) ** 0.5, generator=generator)
        parts += [convolution, nn.ReLU()]
        channels = width
    features = channels * x.shape[2] * x.shape[3]
    last = nn.utils.skip_init(nn.Linear, features, n_classes, bias=False)
    nn.init.normal_(last.weight, std=features**-0.5, generator=generator)
    return nn.Sequential(*parts, nn.Flatten(), last)


def run_noise(unit: Unit, folder: Path) -> list[str]:
    """ConvRFMs on images at a random place in noise, for each noise."""
    told, rows = dict(unit.options), []
    for level in told["noises"]:
        x, y, x_test, y_test = _in_noise(_points(unit), level, unit.seed)
        if told["shuffled"]:
            y = y[torch.randperm(len(y), generator=stream(unit.seed, _LABELS))]
        scores, _ = by_iteration(x, y, x_test, y_test, told)
        rows += [{"noise": level, **entry} for entry in scores]
    write_table(folder, "scores", pd.DataFrame(rows))
    return []


def run_stars(unit: Unit, folder: Path) -> list[str]:
    """A ConvRFM on a few star images."""
    told = dict(unit.options)
    x, y, x_test, y_test = unit.data.load(unit.seed)  # type: ignore[union-attr]
    if told["shuffled"]:
        y = y[torch.randperm(len(y), generator=stream(unit.seed, _LABELS))]
    scores, matrices = by_iteration(x, y, x_test, y_test, told)
    write_table(folder, "scores", pd.DataFrame(scores))
    if not told["shuffled"]:
        shown = {"iteration 1": matrices[1].float()}
        write_patches(folder, shown, x_test[:6], plain=True)
    return []


def star_images(
    *, seed: int, n: int, noise: float, side: int, n_test: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test images of the data set "stars" and their labels."""
    source = DATA["stars"]
    raw = source.read(root=Path(), download=False, seed=seed, **source.chosen({"noise": noise, "side": side}))
    assert raw.x_test is not None
    assert raw.y_test is not None
    x, y = torch.from_numpy(raw.x_train[:n]), torch.from_numpy(raw.y_train[:n])
    return x, y, torch.from_numpy(raw.x_test[:n_test]), torch.from_numpy(raw.y_test[:n_test])


def by_iteration(
    x: Float[Tensor, "n c h w"],
    y: Int[Tensor, " n"],
    x_test: Float[Tensor, "m c h w"],
    y_test: Int[Tensor, " m"],
    told: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """Accuracies of every iteration on fitted, held-out and test images, which one the held-out images choose, and the M of each.

    The last images of the training set are held out, and not fitted on afterwards: all iterations have as many images.
    """
    kept = _kept(x, told)
    model = ConvRFMClassifier(
        depth=told["depth"], patch_size=told["patch_size"], n_iter=told["iterations"], ridge=told["ridge"], random_state=0
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    matrices: list[Tensor] = []

    def after(index: int, total: int, entry: Mapping[str, Any]) -> None:
        rows.append(
            {
                "iteration": index,
                "train_accuracy": entry["train_accuracy"],
                "held_out_accuracy": model.score(x[kept:], y[kept:]),
                "test_accuracy": model.score(x_test, y_test),
            }
        )
        matrices.append(model.agop_)

    model.fit(x[:kept], y[:kept], callback=after)
    best = max(range(len(rows)), key=lambda index: rows[index]["held_out_accuracy"])
    return [{**row, "chosen": row["iteration"] == best} for row in rows], matrices


def _kept(x: Float[Tensor, "n c h w"], told: Mapping[str, Any]) -> int:
    """How many of the training images are fitted."""
    return len(x) - max(1, round(told["held_out"] * len(x)))


def run_deep(unit: Unit, folder: Path) -> list[str]:
    """A kernel, a ConvRFM and a Deep ConvRFM with as many convolutions; the stages' collapse, and that of random convolutions.

    The held-out images choose iteration and stage of the machines that are compared by accuracy. They may choose the kernel itself, so
    that the collapse is measured in a Deep ConvRFM each of whose stages has learned M once, and predicts with its last stage.
    """
    told, (x, y, x_test, y_test) = dict(unit.options), _points(unit)
    scores, matrices = by_iteration(x, y, x_test, y_test, told | {"depth": told["stages"]})
    chosen = next(row for row in scores if row["chosen"])
    kept = _kept(x, told)

    def stages(n_iter: int, **validation: Any) -> DeepConvRFMClassifier:
        model = DeepConvRFMClassifier(
            n_layers=told["stages"], width=told["width"], patch_size=told["patch_size"], ridge=told["ridge"], n_iter=n_iter,
            random_state=unit.seed,
        )  # fmt: skip
        return model.fit(x[:kept], y[:kept], **validation)

    best = stages(told["iterations"], X_val=x[kept:], y_val=y[kept:])
    models = {"agop": stages(1), "identity": stages(0)}
    accuracies = {
        "kernel": scores[0]["test_accuracy"],
        "ConvRFM": chosen["test_accuracy"],
        "Deep ConvRFM": best.score(x_test, y_test),
        **{f"last stage, {rule}": model.score(x_test, y_test) for rule, model in models.items()},
    }
    rows = [{"machine": name, "test_accuracy": value} for name, value in accuracies.items()]
    write_table(folder, "accuracy", pd.DataFrame(rows))
    profiles = []
    for rule, model in models.items():
        own = pd.concat([
            _collapse(model, images[: told["rows"]], labels[: told["rows"]]).assign(points=points)
            for points, images, labels in (("train", x[:kept], y[:kept]), ("test", x_test, y_test))
        ])  # fmt: skip
        write_table(folder, f"profile-{rule}", own)
        profiles.append(own.assign(rule=rule))
    write_table(folder, "profile", pd.concat(profiles))
    edges = _edges(matrices[1].double(), x[:kept], told["patch_size"], unit.seed)
    write_table(folder, "edges", pd.DataFrame([edges]))
    write_patches(folder, {"M of the ConvRFM": matrices[1].float()}, x_test[:6], plain=True)
    return []


def _collapse(
    model: DeepConvRFMClassifier, x: Float[Tensor, "n c h w"], y: Int[Tensor, " n"]
) -> pd.DataFrame:
    """NC1 by stage of the model's views."""
    return profile(model, x, y, measures=("nc1",)).to_frame()[["layer", "stage", "nc1"]]


def _edges(M: Float[Tensor, "d d"], x: Float[Tensor, "n c h w"], q: int, seed: int) -> dict[str, float]:
    """How much of the two edge filters lies in the top eigenvectors of M, of M turned at random, and of the patches' second moment."""
    patches = torch.nn.functional.unfold(x[:200].double(), q).transpose(1, 2).flatten(0, 1)
    turn = torch.linalg.qr(
        torch.randn(len(M), len(M), generator=stream(seed, _ROTATION), dtype=torch.float64)
    )[0]
    matrices = {"M": M, "turned": turn @ M @ turn.mT, "second_moment": patches.mT @ patches / len(patches)}
    return {name: edge_share(matrix, x.shape[1]) for name, matrix in matrices.items()}


def edge_share(M: Float[Tensor, "d d"], channels: int) -> float:
    r"""The mean over the horizontal and the vertical edge filter e of :math:`\|P e\|^2`, P the projection on the top `TOP` eigenvectors.

    An edge filter of q × q pixels rises evenly along one side, is the same in all channels, and has norm 1. For a random subspace the
    mean is `TOP` / d.
    """
    d = len(M)
    q = round((d / channels) ** 0.5)
    ramp = torch.arange(q, dtype=torch.float64) - (q - 1) / 2
    edges = torch.stack([ramp[:, None].expand(q, q), ramp[None, :].expand(q, q)])
    rows = edges[:, None].expand(2, channels, q, q).reshape(2, d)
    rows = rows / rows.norm(dim=1, keepdim=True)
    top = torch.linalg.eigh(M.double()).eigenvectors[:, -TOP:]
    return float((rows @ top).square().sum(1).mean())


def _points(unit: Unit) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images of a unit, pixels divided by the largest training pixel, at most `n_test` of them to test on."""
    assert isinstance(unit.data, DataSource)
    data = unit.data.load(unit.seed)
    images, most = Images.of(data), unit.options.get("n_test")
    if images.x_test is None or images.y_test is None:
        raise bad_value("data", "data with test points", f"{unit.label} without any", "add x_test and y_test")
    arrays = (images.x, images.y, images.x_test[:most], images.y_test[:most])
    x, y, x_test, y_test = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    return x, y, x_test, y_test


def _in_noise(
    points: tuple[Tensor, Tensor, Tensor, Tensor], level: float, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images at a random place in noise, half as large again; the places are the same at every level."""
    x, y, x_test, y_test = points
    side = round(1.5 * max(x.shape[-2:]))
    rngs = [np.random.default_rng([seed, _NOISE, part]) for part in range(2)]
    noisy = [
        torch.from_numpy(in_noise(part.numpy(), side, level, rng)) for part, rng in zip((x, x_test), rngs)
    ]
    return noisy[0], y, noisy[1], y_test
