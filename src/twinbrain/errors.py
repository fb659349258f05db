"""The three ways a command can end without a result, and the sentence that says which."""

from __future__ import annotations

import collections
import difflib
import re
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

    A name that differs in its number alone is another thing, not a misspelling, so it is not suggested.

    Parameters
    ----------
    name
        What was given.
    allowed
        What could have been meant.

    Returns
    -------
    str
        ``"; did you mean '...'?"``, or ``""`` where nothing is close.

    Examples
    --------
    >>> nearest("Thalamus_l", ["Thalamus_L", "Insula_L"])
    "; did you mean 'Thalamus_L'?"
    >>> nearest("xyz", ["Thalamus_L"]), nearest("ctx-lh-17", ["ctx-lh-7"])
    ('', '')
    """
    options = list(allowed)
    lower = {o.lower(): o for o in options}
    if name.lower() in lower:
        return f"; did you mean '{lower[name.lower()]}'?"
    bare = collections.Counter(_bare(o) for o in options)

    def may_be_meant(option: str) -> bool:
        numbers = ["".join(re.findall(r"\d+", text)) for text in (name, option)]
        if numbers[0] == numbers[1]:
            return True
        numbered = bool(numbers[0] and numbers[1]) or bare[_bare(option)] > 1  # one of a series: which, is not known
        return not numbered and _bare(name) != _bare(option)

    cutoff = 0.6 if len(name) <= 4 else 0.75  # one slip is a large part of a short name
    close = difflib.get_close_matches(name, [o for o in options if may_be_meant(o)], n=1, cutoff=cutoff)
    return f"; did you mean '{close[0]}'?" if close else ""


def _bare(name: str) -> str:
    return re.sub(r"\d+", "", name).lower()
