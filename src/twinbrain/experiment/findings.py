"""What an experiment ends in: tables, claims with their tests, and figures described as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pandas as pd

from twinbrain.config import Study
from twinbrain.experiment.design import Design
from twinbrain.experiment.results import Results

__all__ = ["Chart", "Claim", "Experiment", "Findings", "Seen", "verdict"]

Seen = Literal["seen", "not seen", "opposite", "not tested"]


@dataclass(frozen=True)
class Claim:
    """One published statement beside what is seen here.

    Attributes
    ----------
    statement
        What is claimed, in words that can be wrong.
    published
        What was published, with its figure.
    ours
        What is seen here, with its figure.
    seen
        ``seen``: in this direction, and the test says so; ``not seen``: no difference can be told; ``opposite``: the
        other direction, and the test says so; ``not tested``: this run cannot say.
    test
        Name of the test, with its units of observation.
    p, effect, low, high
        p value; effect size with its 95 % bootstrap interval. None where there is none.
    control
        What it was held against.

    Examples
    --------
    >>> Claim("more is better", "yes", "no", "not seen").p is None
    True
    """

    statement: str
    published: str
    ours: str
    seen: Seen
    test: str = ""
    p: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    control: str = ""


def verdict(p: float, as_said: bool) -> Seen:
    """Say whether an effect is seen: told by the test at 5 %, and in the direction that was claimed.

    Examples
    --------
    >>> verdict(0.01, True), verdict(0.01, False), verdict(0.2, True)
    ('seen', 'opposite', 'not seen')
    """
    return "not seen" if not p < 0.05 else "seen" if as_said else "opposite"


@dataclass(frozen=True)
class Chart:
    """A figure as data: which columns of which table are drawn, and how.

    Attributes
    ----------
    name, title, caption, alt
        Of the figure; name in letters, digits and hyphens.
    kind
        ``curve``: y against x with bands, one panel for each of `y` and one line for each value of `by`; ``forest``:
        one row for each value of `x`, its mean `y` with its interval; ``map``: `y` as colour over x and `by`;
        ``scatter``: points.
    table
        Name of the table; bands are its columns ``Y_low`` and ``Y_high`` where they exist.
    x, y, by
        Columns.
    labels
        Column -> text on its axis or panel.
    log_x, log_y
        Logarithmic axes; y is linear between -0.1 and 0.1.
    reference
        y column -> (value, label) of a horizontal line, such as the published figure.

    Examples
    --------
    >>> Chart("size", "Size", "curve", "by_size", "neurons", ("pcc",)).log_x
    False
    """

    name: str
    title: str
    kind: Literal["curve", "forest", "map", "scatter"]
    table: str
    x: str
    y: tuple[str, ...]
    by: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False
    reference: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Findings:
    """Result of an experiment.

    Attributes
    ----------
    answer
        One or two sentences: what the data support, whichever way.
    claims, charts
        See there.
    tables
        Name -> table, stored as ``tables/NAME.csv``.
    scores
        Figures for ``scores.json``.
    notes
        Sentences on how to read it and what limits it.

    Examples
    --------
    >>> Findings("nothing was done").claims
    ()
    """

    answer: str
    claims: tuple[Claim, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the tables as plain data.

        Examples
        --------
        >>> Findings("yes").to_dict()["answer"]
        'yes'
        """
        return {
            "answer": self.answer,
            "claims": [asdict(claim) for claim in self.claims],
            "charts": [{**asdict(chart), "labels": dict(chart.labels)} for chart in self.charts],
            "notes": list(self.notes),
            **self.scores,
        }


@dataclass(frozen=True)
class Experiment:
    """An experiment: how its table is made by default, and how its results are judged.

    Attributes
    ----------
    name, title, question
        In words.
    study
        The study it uses when none is given: the sample person at demonstration size.
    design
        ``design(study, regions) -> Design``: the default table for a brain with these regions.
    conclude
        ``conclude(results) -> Findings``: only from stored cells and set-ups, so that it can be repeated.

    Examples
    --------
    >>> Experiment.__dataclass_params__.frozen
    True
    """

    name: str
    title: str
    question: str
    study: Callable[[], Study]
    design: Callable[[Study, tuple[str, ...]], Design]
    conclude: Callable[[Results], Findings]
