"""The three ways a command can end without a result, and the sentence that says which."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["CorruptFile", "InputError", "Interrupted", "nearest"]


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, where, and how to mend it (exit code 1)."""


class CorruptFile(InputError):  # noqa: N818 - it names what is wrong
    """A stored result is damaged; the message names the file and the array (exit code 1)."""


class Interrupted(Exception):  # noqa: N818 - it is not an error: the work can go on
    """The work was stopped before its end and can be resumed (exit code 75)."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Suggest the allowed name closest to ``name``, as a clause that can be appended to a message.

    Examples
    --------
    >>> nearest("Thalamus_l", ["Thalamus_L", "Insula_L"])
    "; did you mean 'Thalamus_L'?"
    >>> nearest("xyz", ["Thalamus_L"])
    ''
    """
    options = list(allowed)
    lower = {o.lower(): o for o in options}
    if name.lower() in lower:
        return f"; did you mean '{lower[name.lower()]}'?"
    close = difflib.get_close_matches(name, options, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
