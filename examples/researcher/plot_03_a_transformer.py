"""
A transformer with a class token
================================

Twelve tokens, an encoder of two blocks, and a class token that gathers what the answer
needs. A layer of a transformer has a row for each token; which one is "the features"? The
class token, `agop.Network` is told. The same call serves a vision transformer.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn

import agop

# %%
# The task: which of four signs comes most often among twelve? No single token tells.

generator = torch.Generator().manual_seed(0)
tokens = torch.randint(4, (3200, 12), generator=generator)
counts = nn.functional.one_hot(tokens, 4).sum(1)
clear = counts.topk(2).values.diff().abs().flatten() >= 2  # no close decisions
tokens, labels = tokens[clear], counts[clear].argmax(1)
train, test = slice(0, 800), slice(800, None)


class Encoder(nn.Module):
    """Two blocks of torch's own encoder; the answer is read off the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(5, 32), nn.Embedding(13, 32)
        block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        sign = torch.full_like(tokens[:, :1], 4)
        tokens = torch.cat([sign, tokens], 1)
        h = self.embed(tokens) + self.place(torch.arange(13))
        return self.head(self.blocks(h)[:, 0])


def network() -> Encoder:
    torch.manual_seed(0)
    return Encoder()


untrained, trained = network(), network()
optimiser = torch.optim.AdamW(trained.parameters(), lr=2e-3)
for _ in range(40):
    for batch in torch.randperm(800).split(100):
        optimiser.zero_grad()
        answers = trained(tokens[train][batch])
        nn.functional.cross_entropy(answers, labels[train][batch]).backward()
        optimiser.step()
with torch.no_grad():
    correct = trained(tokens[test]).argmax(1) == labels[test]
print(f"accuracy on {len(correct)} new sequences {correct.float().mean():.2f}")

# %%
# Chance is .25, so it has learned to count. ``pool="first"`` makes the class token's row
# the sample at every layer. Layers are all uses of a weight, the projections of attention
# among them.

columns = {}
for name, model in {"untrained": untrained, "trained": trained}.items():
    subject = agop.Network(model, pool="first")
    profile = agop.profile(subject, tokens[train], labels[train], measures=["nc1"])
    table = profile.to_frame()
    columns[name] = table[table["stage"] == "input"].set_index("name")["nc1"]
together = pd.DataFrame(columns)
print(together.round(3))

# %%
# One row a layer, in the order in which they are computed: NC1 of what it reads. At the
# first projections it is not a number: there the class token is the same in every
# sequence, it has not looked at anything yet. In the trained encoder it falls where
# attention has brought the tokens in, and once more behind the second block; the untrained
# one mixes tokens, too, and its NC1 stays where it begins.

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for name, style in (("untrained", "o--"), ("trained", "o-")):
    defined = together[name].dropna()
    axis.plot(
        [place.removeprefix("blocks.layers.") for place in defined.index],
        defined,
        style,
        label=name,
    )
axis.set(yscale="log", ylabel="NC1 of what the layer reads")
axis.tick_params(axis="x", rotation=60)
axis.legend(frameon=False)
plt.show()

# %%
# The slope of the solid line is what was learned. With ``pool="mean"`` a sample would be
# the mean over all thirteen tokens, with ``pool="none"`` every token.
