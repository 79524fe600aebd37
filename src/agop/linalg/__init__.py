"""Linear algebra on symmetric positive semi-definite matrices: powers, ridge systems, comparison."""
