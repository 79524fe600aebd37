r"""A network that learns how deep it is: a read-out at every layer, and a distribution over depths that training moves.

Depth L has the prior 1 + Poisson(α), weights :math:`\mathcal N(0, \tau^2)`. The posterior over depths is a Poisson distribution that is
cut off, :math:`q(L = k + 1) \propto \nu^k / k!` for k = 0, …, a, where a is the least integer from :math:`\lfloor\nu\rfloor + 1` on with
:math:`P(\text{Poisson}(\nu) \le a) \ge 0.95`: there are a + 1 layers, more as ν grows, fewer as it shrinks. Weights are points. Training
maximises

.. math:: \mathrm{ELBO} = \sum_l q(l) \Big[ N\, \overline{\log p(y | o_l(x))} - \frac{\|\theta_{\le l}\|^2 + \|\theta_{o_l}\|^2}{2 \tau^2}
          + \log \mathrm{Poisson}(l - 1; \alpha) \Big] + H(q).

Source: Nazaret and Blei 2022 (ICML).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from agop import _checks
from agop.gradients.ansatz import nfm
from agop.networks.streams import derived_seed
from agop.networks.training import order_of
from agop.view import LayerView

COVERED = 0.95
"""Share of the Poisson distribution that the layers that there are cover."""

DEEPEST = 500
"""Most layers."""


def truncation(nu: float) -> int:
    """The last k of the cut-off posterior: the least integer from ⌊ν⌋ + 1 on up to which Poisson(ν) has 95 %."""
    nu = _checks.real("nu", nu, above=0)
    if nu > DEEPEST / 2:
        raise _checks.bad_value("nu", f"at most {DEEPEST // 2}", f"{nu}", "lower its learning rate")
    a = int(nu) + 1
    while float(torch.special.gammaincc(torch.tensor(a + 1.0).double(), torch.tensor(nu).double())) < COVERED:
        a += 1
    return a


class UnboundedDepthNet(nn.Module):
    r"""A ReLU network for classification with a head at every depth, which grows and shrinks while it is trained.

    Parameters
    ----------
    n_features, n_classes
        Numbers in a sample, and classes.
    width
        Units of every hidden layer.
    nu
        ν at the start.
    alpha
        Mean of the prior of L − 1.
    tau
        Standard deviation of the prior of weights and biases.
    seed
        Of the weights; those of a layer depend on the seed and its number only, not on when it was added.

    Attributes
    ----------
    hidden, heads
        Layers :math:`h_l = \mathrm{ReLU}(W_l h_{l-1} + b_l)` and read-outs; `heads[0]` reads the samples themselves. It has q = 0 and is
        trained beside the others. Layers stay when the network shrinks, and are taken up again when it grows.
    raw_nu
        ν is softplus of it.

    Notes
    -----
    Called on samples (n, d) it gives :math:`\log \sum_l q(l)\, \mathrm{softmax}(o_l)`, (n, C): logits of the mixture over depths.
    `agop.profile(net, X, y)` measures every layer that there is with the layer's own head. `state_dict` holds all layers ever made, and
    `load_state_dict` makes or drops layers so that these are there; it raises ValueError where seed, `alpha` or `tau` are others.

    Examples
    --------
    >>> net = UnboundedDepthNet(2, 3, nu=1.0)
    >>> net.depth, [round(p, 3) for p in net.depth_probabilities().tolist()]
    (4, [0.375, 0.375, 0.188, 0.062])
    """

    reads_out = True

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        width: int = 8,
        nu: float = 1.0,
        alpha: float = 0.5,
        tau: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.n_features = _checks.integer("n_features", n_features, at_least=1)
        self.n_classes = _checks.integer("n_classes", n_classes, at_least=2)
        self.width = _checks.integer("width", width, at_least=1)
        self.alpha, self.tau = _checks.real("alpha", alpha, above=0), _checks.real("tau", tau, above=0)
        self.seed = _checks.integer("seed", seed, at_least=0)
        truncation(nu)
        self.raw_nu = nn.Parameter(torch.tensor(math.log(math.expm1(float(nu)))))
        self.hidden, self.heads = nn.ModuleList(), nn.ModuleList([self._linear(0, n_features, n_classes)])
        self.grow()

    @property
    def nu(self) -> Float[Tensor, ""]:
        """ν, with its gradient."""
        return F.softplus(self.raw_nu)

    @property
    def depth(self) -> int:
        """How many layers there are now: a + 1."""
        return truncation(float(self.nu.detach())) + 1

    def depth_probabilities(self) -> Float[Tensor, " a"]:
        """q(1), …, q(a + 1), with gradients by ν."""
        return self._log_probabilities().exp()

    def expected_depth(self) -> float:
        """The mean of L under q."""
        q = self.depth_probabilities().detach().double()
        return float((q * torch.arange(1, len(q) + 1, device=q.device)).sum())

    def grow(self) -> list[nn.Parameter]:
        """Make the layers that ν asks for and that are not there; their parameters."""
        return self._grown(self.depth)

    def layer_outputs(self, x: Float[Tensor, "n d"]) -> tuple[list[Tensor], list[Tensor]]:
        """Hidden states h_0 (the samples) to h_{a+1}, and what every head says of its own: a + 2 of each."""
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise _checks.bad_value("x", f"shape (n, {self.n_features})", f"{tuple(x.shape)}")
        states = [x]
        for layer in self.hidden[: self.depth]:
            states.append(torch.relu(layer(states[-1])))
        return states, [head(state) for head, state in zip(self.heads, states, strict=False)]

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        _, outputs = self.layer_outputs(x)
        mixed = [
            log_q + F.log_softmax(o, 1)
            for log_q, o in zip(self._log_probabilities(), outputs[1:], strict=True)
        ]
        return torch.logsumexp(torch.stack(mixed), 0)

    def elbo(
        self, x: Float[Tensor, "n d"], y: Int[Tensor, " n"], n_total: int | None = None
    ) -> Float[Tensor, ""]:
        """The evidence lower bound of this module's first formula; x, y may be a batch of `n_total` samples."""
        return self._bound(self.layer_outputs(x)[1], y, len(x) if n_total is None else n_total)

    def loss(self, x: Float[Tensor, "n d"], y: Int[Tensor, " n"], n_total: int) -> Float[Tensor, ""]:
        """−ELBO / N, and the cross-entropy and prior of `heads[0]`, which no other parameter feels."""
        _, outputs = self.layer_outputs(x)
        own = F.cross_entropy(outputs[0], y) + _squares(self.heads[0]) / (2 * self.tau**2 * n_total)
        return own - self._bound(outputs, y, n_total) / n_total

    def views(self, X: Any) -> Iterator[LayerView]:
        """Every layer that there is, each with its own head."""
        x = torch.as_tensor(X, dtype=self.raw_nu.dtype, device=self.raw_nu.device)
        with torch.no_grad():
            states, _ = self.layer_outputs(x)
        for place, layer in enumerate(self.hidden[: self.depth]):
            assert isinstance(layer, nn.Linear)
            with torch.no_grad():
                _, sizes, right = torch.linalg.svd(layer.weight, full_matrices=False)
                projected = states[place] @ (sizes[:, None] * right).mT
            head = self.heads[place + 1]
            assert isinstance(head, nn.Linear)
            yield LayerView(
                f"layer {place + 1}", states[place], projected, states[place + 1], nfm(layer),
                readout=(head.weight.detach(), head.bias.detach()),
            )  # fmt: skip

    def get_extra_state(self) -> dict[str, Any]:
        """What decides further layers and the prior: `state_dict` carries it, and another network refuses it."""
        return {"seed": self.seed, "alpha": float(self.alpha), "tau": float(self.tau)}

    def set_extra_state(self, state: Any) -> None:
        """Nothing: `load_state_dict` has compared it."""

    def load_state_dict(self, state_dict: Any, *arguments: Any, **options: Any) -> Any:
        theirs = state_dict.get("_extra_state")
        if theirs is not None and theirs != self.get_extra_state():
            expected = f"one of a network with {self.get_extra_state()}"
            raise _checks.bad_value(
                "state_dict", expected, f"{theirs}", "build the network with these values"
            )
        count = sum(name.startswith("hidden.") and name.endswith(".weight") for name in state_dict)
        self._grown(count)
        del self.hidden[count:], self.heads[count + 1 :]
        return super().load_state_dict(state_dict, *arguments, **options)

    def _log_probabilities(self) -> Float[Tensor, " a"]:
        """Ln q: finite where q itself is below the range of the dtype."""
        k = torch.arange(self.depth, device=self.raw_nu.device, dtype=self.raw_nu.dtype)
        return torch.log_softmax(k * self.nu.log() - torch.lgamma(k + 1), 0)

    def _bound(self, outputs: list[Tensor], y: Int[Tensor, " n"], n_total: int) -> Float[Tensor, ""]:
        log_q = self._log_probabilities()
        q = log_q.exp()
        likelihood = torch.stack([-F.cross_entropy(o, y) for o in outputs[1:]]) * n_total
        below = torch.stack([_squares(layer) for layer in self.hidden[: len(q)]]).cumsum(0)
        heads = torch.stack([_squares(head) for head in self.heads[1 : len(q) + 1]])
        k = torch.arange(len(q), device=q.device, dtype=q.dtype)
        prior = k * math.log(self.alpha) - self.alpha - torch.lgamma(k + 1)
        entropy = -(q * log_q).sum()
        return (q * (likelihood - (below + heads) / (2 * self.tau**2) + prior)).sum() + entropy

    def _grown(self, depth: int) -> list[nn.Parameter]:
        made: list[nn.Parameter] = []
        for place in range(len(self.hidden), depth):
            inputs = self.width if place else self.n_features
            layer = self._linear(2 * place + 1, inputs, self.width)
            head = self._linear(2 * place + 2, self.width, self.n_classes)
            self.hidden.append(layer)
            self.heads.append(head)
            made += [*layer.parameters(), *head.parameters()]
        return made

    def _linear(self, place: int, inputs: int, outputs: int) -> nn.Linear:
        """He's weights from a stream of their own, and no biases at first."""
        layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
        generator = torch.Generator().manual_seed(derived_seed(self.seed, place))
        with torch.no_grad():
            layer.weight.normal_(std=(2 / inputs) ** 0.5, generator=generator)
            layer.bias.zero_()
        return layer.to(self.raw_nu) if hasattr(self, "raw_nu") else layer


def _squares(layer: nn.Module) -> Tensor:
    return torch.stack([parameter.square().sum() for parameter in layer.parameters()]).sum()


def make_optimiser(
    model: UnboundedDepthNet, lr: float = 0.01, nu_lr: float | None = None
) -> torch.optim.Adam:
    """Adam with a group for ν (a tenth of the rate by default), one for `heads[0]`, one for each layer with its head."""
    rate = _checks.real("lr", lr, above=0)
    own = rate / 10 if nu_lr is None else _checks.real("nu_lr", nu_lr, above=0)
    groups: list[dict[str, Any]] = [
        {"params": [model.raw_nu], "lr": own},
        {"params": list(model.heads[0].parameters())},
    ]
    for layer, head in zip(model.hidden, list(model.heads)[1:], strict=True):
        groups.append({"params": [*layer.parameters(), *head.parameters()]})
    return torch.optim.Adam(groups, lr=rate)


def _join(model: UnboundedDepthNet, optimiser: torch.optim.Optimizer) -> None:
    """Make the layers that ν asks for; each joins the optimiser as a group."""
    made, per_layer = model.grow(), 4
    for start in range(0, len(made), per_layer):
        optimiser.add_param_group(
            {"params": made[start : start + per_layer], "lr": optimiser.param_groups[1]["lr"]}
        )


def train_unbounded_depth(
    model: UnboundedDepthNet,
    x: Float[Tensor, "n d"],
    y: Int[Tensor, " n"],
    *,
    epochs: int = 1000,
    batch_size: int = 256,
    optimiser: torch.optim.Adam | None = None,
    seed: int = 0,
    done: int = 0,
) -> Iterator[int]:
    """Train in place and yield the number of every finished epoch; stop asking to stop.

    Layers that ν asks for are made after a step, and join the optimiser with a group of their own; what it knows of the others stays.

    Parameters
    ----------
    optimiser
        One to go on with, as `make_optimiser` makes it; None: a new one.
    seed
        Of the order of the samples in an epoch.
    done
        Epochs that were trained before.

    Raises
    ------
    ValueError
        If the loss is no longer finite, with the epoch.
    """
    _checks.same_length("x", len(x), "y", len(y))
    _checks.integer("epochs", epochs, at_least=0)
    size = _checks.integer("batch_size", batch_size, at_least=1)
    optimiser = make_optimiser(model) if optimiser is None else optimiser
    for epoch in range(done + 1, epochs + 1):
        _join(model, optimiser)  # ν may have been set since the last epoch
        for rows in order_of(seed, epoch, len(x)).split(size):
            loss = model.loss(x[rows], y[rows], len(x))
            if not bool(torch.isfinite(loss)):
                got = f"a loss of {float(loss.detach())} in epoch {epoch}"
                raise _checks.bad_value("lr", "a training that converges", got, "take a smaller one")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            _join(model, optimiser)
        yield epoch
