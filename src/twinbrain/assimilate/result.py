"""The result of a fit: the same fields out of every method."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xarray as xr

if TYPE_CHECKING:
    from twinbrain.drive import Drive

__all__ = ["Fit"]


@dataclass(frozen=True, eq=False)
class Fit:
    """Drives estimated from recorded BOLD, with their uncertainty.

    Rows of all arrays are the volumes used; ``time`` is that of the BOLD sample, in s on the clock of the recording.
    Row t of the drive acts during the repetition time that ends with this sample.

    Attributes
    ----------
    drive
        h(t) to be replayed: the lag-smoothed ensemble mean (vw-dhmda), the posterior mean (esmda), or the inverse.
    spread
        (time, input) standard deviation of h: over the members, or for the inverse what the noise of BOLD leaves
        open (Laplace approximation), model units of current.
    inputs
        Names of the driven regions or voxels.
    target
        (time, region) observations on the model's scale, fraction signal change; NaN where none.
    forecast, forecast_spread
        (time, region) mean and standard deviation over the members of the BOLD predicted on the way: inside the
        filter, one repetition time ahead; for esmda and inverse in the last run of the ensemble, for an inverse
        without correction from the rates alone (inputs only, NaN elsewhere). No evidence that the drives are
        right: score a free run for that.
    filter_mean
        vw-dhmda only, else None. (time, input) ensemble mean of h before the row's own observation was used: the
        published estimate, which is late by the delay of BOLD. For comparison, not for replay.
    members_drive
        (time, member, input) h of every member.
    initial
        (member, input) h during the warm-up.
    diagnostics
        Figures (those named ``forecast_...`` are of the forecast above) and settings (``setting_...``).
    method
        "vw-dhmda", "inverse" or "esmda".
    rate
        (time, input) firing rates that explain the target, Hz; None for vw-dhmda.

    Examples
    --------
    >>> Fit.__dataclass_params__.frozen
    True
    """

    drive: Drive
    spread: xr.DataArray
    inputs: tuple[str, ...]
    target: xr.DataArray
    forecast: xr.DataArray
    forecast_spread: xr.DataArray
    filter_mean: xr.DataArray | None
    members_drive: xr.DataArray
    initial: xr.DataArray
    diagnostics: dict[str, float | str]
    method: str = "vw-dhmda"
    rate: xr.DataArray | None = None

    def __repr__(self) -> str:
        named = ", ".join(self.inputs[:3]) + (", ..." if len(self.inputs) > 3 else "")
        count, members = len(self.inputs), self.members_drive.sizes["member"]
        return (
            f"Fit({count} input{'' if count == 1 else 's'} ({named}), {self.target.sizes['time']} volumes of "
            f"{self.drive.repetition_time_s:g} s, {self.method}, {members} member{'' if members == 1 else 's'})"
        )

    def _repr_html_(self) -> str:
        rows = [
            (key.replace("_", " "), str(value) if isinstance(value, str) else f"{value:.3g}")
            for key, value in self.diagnostics.items()
            if not key.startswith("setting_") and "[" not in key
        ]
        body = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows)
        return f"<table><caption>{html.escape(repr(self))}</caption>{body}</table>"

    def to_dataset(self) -> xr.Dataset:
        """Return the series of the fit (those it has) as one Dataset with the diagnostics as attributes."""
        names = ("spread", "filter_mean", "forecast", "forecast_spread", "target", "rate")
        arrays = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        attrs = {"repetition_time_s": self.drive.repetition_time_s, "shape": self.drive.shape, "method": self.method}
        return xr.Dataset({"drive": self.drive.values} | arrays, attrs=attrs | self.diagnostics)
