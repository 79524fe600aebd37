"""Neural networks: the paper's architectures, hooks that clean up, training."""
