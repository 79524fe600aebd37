"""Names that a network and its training are asked for by; known without torch, for the command line."""

ARCHITECTURES = ("mlp", "resnet18", "vgg11")
OPTIMISERS = ("sgd", "adam")
SCHEDULES = ("constant", "cosine", "step")
POOLS = ("mean", "flatten", "none", "first", "last")
LOSSES = ("mse", "cross-entropy")
