"""Make the page: read a results folder, draw its figures, write one self-contained HTML file."""

from __future__ import annotations

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
        A results folder, as `twinbrain.save` or ``twinbrain run`` leave it. Groups that are missing (no laminar
        run, no fit) leave their section out, with a line that says so.

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
    from twinbrain.store import load, write_text_atomic

    folder = Path(folder)
    sections = _sections(load(folder))
    for section in sections:
        for picture in section.pictures:
            write_text_atomic(folder / "figures" / f"{picture.name}.svg", picture.standalone())
    page = folder / "report.html"
    write_text_atomic(page, _fill(sections))
    return page


def render(result: Result) -> str:
    """Return the HTML page of a result without touching any file.

    Parameters
    ----------
    result : Result
        What `twinbrain.store.load` returns, or a `twinbrain.report.reading.Content`.

    Returns
    -------
    str
        One HTML document.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> page = render(Content())
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
            f"the report needs the library '{missing.name}', which is not installed; install it with: pip install "
            "'twinbrain[report]'."
        ) from None
    from twinbrain.report.experiment import experiment_sections, is_experiment
    from twinbrain.report.sections import all_sections, only_analysis

    if is_experiment(result):
        return experiment_sections(result)
    reading = Reading(result)
    return only_analysis(reading) if set(reading.groups) == {"analysis"} else all_sections(reading)


def _fill(sections: list[Section], word: str = "report") -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tie"] = lambda text: text.replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%")
    return environment.get_template("page.html").render(
        sections=sections, title=sections[0].title, word=word, css=(_HERE / "page.css").read_text(encoding="utf-8")
    )
