"""How the neurons fire, judged from mean rate and synchrony: the state that every other figure rests on."""

from __future__ import annotations

from dataclasses import dataclass

from twinbrain.report import words

RATE_RANGE_HZ = (1.0, 12.0)

# A whole-brain 4-ms spike count of independent neurons has a Fano factor near 1. Synchronous states seen lie in the
# hundreds and thousands, asynchronous ones between 0.2 and 10; a count that hardly varies is that of clocks.
FANO_RANGE = (0.2, 10.0)

SATURATED_HZ = 60.0


@dataclass(frozen=True)
class State:
    """What the network does: `faults` as (name, explanation), and whether rate and Fano factor are both known.

    Examples
    --------
    >>> State((), True).good, State((), False).good, State((), False).bad
    (True, False, False)
    """

    faults: tuple[tuple[str, str], ...]
    known: bool

    @property
    def bad(self) -> bool:
        """Whether something is known to be wrong."""
        return bool(self.faults)

    @property
    def good(self) -> bool:
        """Whether the network is known to be asynchronous at a rate that neurons have."""
        return self.known and not self.faults

    @property
    def name(self) -> str:
        """The state in a word or two."""
        if self.faults:
            return " and ".join(name for name, _ in self.faults)
        return "asynchronous" if self.known else "unknown"

    @property
    def explained(self) -> str:
        """The state, and what it means in brackets."""
        return " and ".join(f"{name} ({text})" for name, text in self.faults) or self.name


def state_of(rate_hz: float | None, fano: float | None) -> State:
    """Judge a network by its mean rate and by the Fano factor of its spike count in 4 ms.

    Parameters
    ----------
    rate_hz : float or None
        Mean firing rate, Hz; None if unknown.
    fano : float or None
        Variance over mean of the whole network's spike count in windows of 4 ms; None if unknown.

    Returns
    -------
    State
        Asynchronous only if the rate is 1 to 12 Hz and the Fano factor between 0.2 and 10.

    Examples
    --------
    >>> state_of(4.0, 3.6).name, state_of(255.0, 0.0095).name, state_of(141.0, 31.0).name
    ('asynchronous', 'saturated', 'too fast and synchronous')
    >>> state_of(0.2, 1.0).name, state_of(4.0, 0.1).name, state_of(4.0, None).name
    ('too slow', 'too regular', 'unknown')
    """
    slowest, fastest = RATE_RANGE_HZ
    least, most = FANO_RANGE
    faults = []
    if rate_hz is not None and fano is not None and rate_hz > SATURATED_HZ and fano < least:
        faults.append(("saturated", "neurons fire near the limit of their refractory time"))
        return State(tuple(faults), True)
    if rate_hz is not None and rate_hz > fastest:
        faults.append(("too fast", f"the mean firing rate lies above {fastest:.0f} Hz"))
    if rate_hz is not None and rate_hz < slowest:
        faults.append(("too slow", f"the mean firing rate lies below {slowest:.0f} Hz"))
    if fano is not None and fano >= most:
        faults.append(("synchronous", "neurons fire together, so correlations of BOLD may be those of one oscillation"))
    if fano is not None and fano < least:
        faults.append(("too regular", "the spike count hardly varies, as if neurons were clocks"))
    return State(tuple(faults), rate_hz is not None and fano is not None)


def measured(rate_hz: float | None, fano: float | None) -> str:
    """Write rate and Fano factor as they stand in a bracket.

    Examples
    --------
    >>> measured(255.06, 0.00955), measured(None, 31.2)
    ('255 Hz, Fano factor 0.0095', 'Fano factor 31')
    """
    said = [f"{words.number(rate_hz)} Hz"] if rate_hz is not None else []
    return ", ".join(said + ([f"Fano factor {words.number(fano, 2)}"] if fano is not None else []))
