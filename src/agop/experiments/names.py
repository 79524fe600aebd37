"""Names of the machines' parts and of poolings, known without torch, for the command line.

A test holds them against the rooms that give them their meaning.
"""

KERNELS = ("laplace", "gaussian", "relu-nngp", "relu-ntk")
FEATURE_MAPS = ("relu", "fourier", "fourier-gaussian", "fourier-laplace", "fourier-laplace-l1", "identity")
SOLVERS = ("auto", "cholesky", "cg")
PRECISIONS = ("mixed", "native")
POOLS = ("mean", "flatten", "none")
