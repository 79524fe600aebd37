"""Neural collapse inside torchmetrics and Lightning."""
