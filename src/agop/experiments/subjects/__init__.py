"""What a run can be about, each a verb of the command line.

Another package adds one through an entry point of the group "agop.subjects".
"""

from __future__ import annotations

from typing import Any

from agop.experiments.subject import SubjectKind
from agop.registry import Registry

SUBJECTS: Registry[SubjectKind[Any]] = Registry(
    "agop.subjects",
    {
        "deep-rfm": "agop.experiments.subjects.deep_rfm_config:KIND",
        "network": "agop.experiments.subjects.network_config:KIND",
        "profile": "agop.experiments.subjects.user_model_config:KIND",
    },
)
"""By verb, in the order of the help."""
