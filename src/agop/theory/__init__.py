"""What the paper proves, as code to put beside the measurements."""
