"""One record per layer for every kind of subject, and the table of measurements."""
