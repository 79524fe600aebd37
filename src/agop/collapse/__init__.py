"""Neural collapse: class moments and the measures NC1 to NC5."""
