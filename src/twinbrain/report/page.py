"""Make the page: read a results folder, draw its figures, write one self-contained HTML file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from twinbrain.errors import InputError
from twinbrain.report.reading import Reading, Result

if TYPE_CHECKING:
    from twinbrain.report.blocks import Section

__all__ = ["render", "report"]

_HERE = Path(__file__).parent


def report(folder: str | Path) -> Path:
    """Make (or make again) the HTML page of a results folder and its figures.

    Writes ``report.html``, one self-contained file without any outside request, and ``figures/*.svg``.

    Parameters
    ----------
    folder : str or path
        A results folder, as `twinbrain.save` or ``twinbrain run`` leave it. Groups that are missing (no laminar run, no
        fit) leave their section out, with a line that says so.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    InputError
        If the folder is no results folder, or the libraries of the extra ``report`` are not installed.

    Examples
    --------
    >>> report("no/such/folder")
    Traceback (most recent call last):
    twinbrain.errors.InputError: ...
    """
    from twinbrain.store import load

    folder = Path(folder)
    sections = _sections(load(folder))
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for section in sections:
        for picture in section.pictures:
            _write(figures / f"{picture.name}.svg", picture.standalone())
    page = folder / "report.html"
    _write(page, _fill(sections))
    return page


def render(result: Result) -> str:
    """Return the HTML page of a result without touching any file.

    Parameters
    ----------
    result : Result
        Anything with `groups`, `scores`, `tables`, `provenance`, `study` and `status` (see `twinbrain.store.load`).

    Returns
    -------
    str
        One HTML document.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> page = render(SimpleNamespace(groups={}, scores={}, tables={}, provenance={}, study={}, status="done"))
    >>> page.startswith("<!doctype html>"), "http-equiv" in page
    (True, False)
    """
    return _fill(_sections(result))


def _sections(result: Result) -> list[Section]:
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as missing:
        raise InputError(
            f"the report needs the library '{missing.name}', which is not installed; "
            "install it with: pip install 'twinbrain[report]'."
        ) from None
    from twinbrain.report.sections import all_sections

    return all_sections(Reading(result))


def _fill(sections: list[Section]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        sections=sections, title=sections[0].title, css=(_HERE / "page.css").read_text(encoding="utf-8")
    )


def _write(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
