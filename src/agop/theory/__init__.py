"""The paper's theory as code: the linearised Deep RFM, and kernel learning. Import what you need from its modules."""
