"""What a run can be about, each a verb of the command line.

Another package adds one through an entry point of the group "agop.subjects".
"""

from __future__ import annotations

import warnings
from typing import Any

from agop.experiments.subject import SubjectKind
from agop.registry import Registry

SUBJECTS: Registry[SubjectKind[Any]] = Registry(
    "agop.subjects",
    {
        "rfm": "agop.experiments.subjects.rfm_config:KIND",
        "deep-rfm": "agop.experiments.subjects.deep_rfm_config:KIND",
        "conv-rfm": "agop.experiments.subjects.conv_rfm_config:KIND",
        "network": "agop.experiments.subjects.network_config:KIND",
        "profile": "agop.experiments.subjects.user_model_config:KIND",
    },
)
"""By verb, in the order of the help."""


def kind_of(verb: str) -> SubjectKind[Any] | None:
    """The kind of subject whose verb this is; None if it is no verb of one, or that of a plug-in which can't be used."""
    kind = SUBJECTS.get(verb)
    if kind is None or (isinstance(kind, SubjectKind) and kind.name == verb):
        return kind
    warnings.warn(
        f"what is registered as the subject {verb!r} is no SubjectKind of that name: left out",
        RuntimeWarning,
        stacklevel=2,
    )
    return None
