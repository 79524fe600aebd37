"""The command line: one thin file per verb.

Exit codes: 0 done (or nothing left to do), 1 unexpected error, 2 wrong usage or bad input, 3 another rank of a shared run was lost,
130 interrupted.
"""

from agop.cli.app import app, main

__all__ = ["app", "main"]
