"""What a section of the page is made of: text, lists, numbers, tables, pictures, and one viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twinbrain.report import style, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISSING = f"{words.DASH} : not computed, or not defined (for instance because a series does not vary)."


@dataclass(frozen=True)
class Text:
    """A paragraph, with an optional heading before it; `kind` is ``""``, alarm, lead, small or quiet."""

    text: str
    heading: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Items:
    """A list of sentences; `kind` is ``""``, ``"warning"`` or ``"ok"``."""

    items: Sequence[str]
    heading: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Number:
    """One key number: what it is, its value as written, a comment; `state` is good, bad or plain."""

    label: str
    value: str
    note: str = ""
    state: str = "plain"


@dataclass(frozen=True)
class Numbers:
    """A row of key numbers."""

    numbers: Sequence[Number]


@dataclass(frozen=True)
class Table:
    """A table of written cells; the first cell of a row is its head, rows in `strong` are set in bold."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    strong: Sequence[int] = ()
    numeric: bool = True

    @property
    def footnotes(self) -> list[str]:
        """The note, and what a dash means if the table has one."""
        dashes = any(cell == words.DASH for row in self.rows for cell in row)
        return [line for line in (self.note, MISSING if dashes else "") if line]


@dataclass(frozen=True)
class Picture:
    """A figure as SVG text, with its caption and a description for those who cannot see it."""

    name: str
    svg: str
    alt: str
    caption: str
    narrow: bool = False

    @property
    def inline(self) -> str:
        """The SVG to place in the page, with its description."""
        from markupsafe import Markup, escape

        return Markup(self.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(self.alt)}" ', 1))

    def standalone(self) -> str:
        """The same SVG as a file of its own."""
        return f'<?xml version="1.0" encoding="utf-8"?>\n{self.inline}\n'


@dataclass(frozen=True)
class Viewer:
    """Data of the region viewer: one region's recorded and simulated BOLD at a time."""

    data: dict[str, Any]


@dataclass(frozen=True)
class References:
    """Cited works."""

    works: Sequence[words.Reference]


Block = Text | Items | Numbers | Table | Picture | Viewer | References


@dataclass
class Section:
    """A part of the page with a heading and an anchor."""

    anchor: str
    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def pictures(self) -> list[Picture]:
        """The figures in this section."""
        return [block for block in self.blocks if isinstance(block, Picture)]

    def say(self, text: str, heading: str = "", kind: str = "") -> None:
        """Add a paragraph."""
        self.blocks.append(Text(text, heading, kind))

    def show(self, name: str, figure: Figure, alt: str, caption: str, *, narrow: bool = False) -> None:
        """Add a figure."""
        self.blocks.append(Picture(name, style.to_svg(figure, name), alt, caption, narrow))
