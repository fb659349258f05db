"""What a notebook shows of a fit, a drive and a result: one line, or a short table, however large they are."""

from __future__ import annotations

import html.parser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from twinbrain.assimilate.fit import Fit
from twinbrain.drive import Drive
from twinbrain.store import load, save


def make_drive(inputs: list[str], rows: int = 400) -> Drive:
    values = np.linspace(0.01, 0.03, rows)[:, None] * np.ones(len(inputs))
    return Drive(
        xr.DataArray(values, dims=("time", "input"), coords={"time": np.arange(rows) * 0.72, "input": inputs}), 0.72
    )


def make_fit(inputs: list[str], rows: int = 400, members: int = 30) -> Fit:
    drive = make_drive(inputs, rows)
    regions = xr.DataArray(
        np.zeros((rows, 94)),
        dims=("time", "region"),
        coords={"time": drive.values["time"], "region": [f"r{k}" for k in range(94)]},
    )
    over = xr.DataArray(np.zeros((rows, members, len(inputs))), dims=("time", "member", "input"))
    diagnostics: dict[str, float | str] = {"replaced": "none", "forecast_pcc_inputs": 0.98765, "setting_seed": 1.0}
    diagnostics |= {f"forecast_pcc[{name}]": 0.9 for name in inputs}
    return Fit(
        drive, drive.values, tuple(inputs), regions, regions, regions, drive.values, over, over[0], diagnostics
    )  # fmt: skip


class Cells(html.parser.HTMLParser):
    """The text of a table, and whether its tags are in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, _: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@pytest.mark.parametrize("count", [1, 2, 94])
def test_a_drive_is_one_line_and_a_short_table(count: int) -> None:
    drive = make_drive([f"<r{k}>" for k in range(count)])
    plural = "" if count == 1 else "s"
    assert repr(drive) == f"Drive({count} input{plural}, 400 rows of 0.72 s: 0.01 to 0.03, mean 0.02)"
    cells = Cells(drive._repr_html_())
    assert {"<r0>", "0.02"} <= set(cells.said)
    assert len(cells.said) < 60
    assert ("; the first 12 inputs" in cells.said[0]) == (count > 12)


def test_a_drive_without_rows_can_be_shown() -> None:
    empty = make_drive(["a"], 0)
    assert repr(empty) == "Drive(1 input, 0 rows of 0.72 s)"
    assert "0 rows" in empty._repr_html_()


@pytest.mark.parametrize("count", [1, 2, 94])
def test_a_fit_is_one_line_and_a_short_table(count: int) -> None:
    fit = make_fit([f"<r{k}>" for k in range(count)])
    shown = repr(fit)
    assert "\n" not in shown
    assert len(shown) < 120
    assert shown.startswith(f"Fit({count} input{'' if count == 1 else 's'} (<r0>")
    assert shown.endswith("400 volumes of 0.72 s, vw-dhmda, 30 members)")
    cells = Cells(fit._repr_html_())
    assert cells.said == [shown, "replaced", "none", "forecast pcc inputs", "0.988"]


def test_a_result_is_one_line_and_a_short_table(tmp_path: Path) -> None:
    scores = {"fc_pcc": 0.41234, "bold_pcc_all": 0.3, "baselines": {"copy": {"fc_pcc": 1.0}}, "n": None}
    result = load(save(tmp_path / "out", fit=make_fit(["a", "b"]).to_dataset(), scores=scores))
    assert repr(result) == f"Result({str(tmp_path / 'out')!r}, status complete, groups: fit)"
    said = Cells(result._repr_html_()).said
    assert said[1:] == ["groups", "fit", "tables", "none", "scores", "fc_pcc 0.412, bold_pcc_all 0.3", "study", "none"]
    nothing = load(save(tmp_path / "none"))
    assert repr(nothing).endswith("groups: none)")
    assert "none" in nothing._repr_html_()
