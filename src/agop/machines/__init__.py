"""Kernel machines that learn features: RFM and Deep RFM as scikit-learn estimators."""
