"""Drive: external current h(t) into the excitatory neurons of chosen regions, with a Gamma factor per neuron."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import xarray as xr

from twinbrain.errors import InputError

__all__ = ["Drive"]

_SHOWN = 12  # inputs listed in a notebook


@dataclass(frozen=True, eq=False)
class Drive:
    """An external current, constant over each repetition time.

    ``I_i(t) = h(t) gamma_i`` with ``gamma_i ~ Gamma(shape, 1/shape)`` drawn once per neuron: mean 1, coefficient of
    variation ``1 / sqrt(shape)`` (0.447 at the default 5; Lu et al. 2024). The factors are scaled so that their mean
    over each driven population is exactly 1: h is then the mean current of the population at any size.

    Attributes
    ----------
    values : DataArray (time, input)
        h in model units of current; ``input`` names regions (or voxels) of the Brain; ``time`` is the time in s of
        the BOLD sample at the *end* of the interval in which the row acts (sample k of a recording: k repetition
        times).
    repetition_time_s : float
        Length of the interval of each row.
    shape : float
        Shape of the Gamma distribution; infinity gives every neuron the same current.

    Examples
    --------
    >>> drive = Drive.constant({"Thalamus_L": 0.02}, duration_s=8.0, repetition_time_s=0.8)
    >>> drive.values.sizes["time"], drive.inputs
    (10, ('Thalamus_L',))
    """

    values: xr.DataArray
    repetition_time_s: float
    shape: float = 5.0

    def __post_init__(self) -> None:
        if self.values.dims != ("time", "input"):
            raise InputError(f"the values of a Drive need dimensions ('time', 'input'), found {self.values.dims}")
        if not np.isfinite(self.values.values).all():
            raise InputError("the values of a Drive must be finite; found NaN or infinity")
        if not self.repetition_time_s > 0 or not self.shape > 0:
            raise InputError(
                f"a Drive needs a positive repetition_time_s and shape, found {self.repetition_time_s} and {self.shape}"
            )
        names = list(self.inputs)
        if len(set(names)) != len(names):
            raise InputError(f"each input of a Drive may be named once, found {names}")

    def __repr__(self) -> str:
        rows, count = self.values.sizes["time"], len(self.inputs)
        found = self.values.values
        span = f": {found.min():.3g} to {found.max():.3g}, mean {found.mean():.3g}" if found.size else ""
        return f"Drive({count} input{'' if count == 1 else 's'}, {rows} rows of {self.repetition_time_s:g} s{span})"

    def _repr_html_(self) -> str:
        table = self.values.values
        body = "".join(
            f"<tr><th>{html.escape(name)}</th>"
            + "".join(f"<td>{value:.3g}</td>" for value in (table[:, k].mean(), table[:, k].min(), table[:, k].max()))
            + "</tr>"
            for k, name in enumerate(self.inputs[:_SHOWN] if len(table) else ())
        )
        head = "<tr><th>input</th><th>mean</th><th>lowest</th><th>highest</th></tr>"
        more = f"; the first {_SHOWN} inputs" if len(self.inputs) > _SHOWN else ""
        return f"<table><caption>{html.escape(repr(self))}{more}</caption>{head}{body}</table>"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the driven regions."""
        return tuple(str(x) for x in self.values["input"].values)

    @property
    def duration_s(self) -> float:
        """Length of the drive."""
        return float(self.values.sizes["time"] * self.repetition_time_s)

    @classmethod
    def constant(
        cls, currents: dict[str, float], duration_s: float, repetition_time_s: float, shape: float = 5.0
    ) -> Drive:
        """Make a drive that holds one current per input."""
        rows = round(duration_s / repetition_time_s)
        values = xr.DataArray(
            np.tile(list(currents.values()), (rows, 1)).astype(np.float64),
            dims=("time", "input"),
            coords={"time": np.arange(rows) * repetition_time_s, "input": list(currents)},
            attrs={"units": "model units of current"},
        )
        return cls(values, repetition_time_s, shape)
