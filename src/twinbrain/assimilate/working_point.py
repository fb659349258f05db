"""What :func:`twinbrain.calibrate` finds: the calibrated network, and the measurements that say what it is worth."""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.circuit import CANONICAL_SHARES
from twinbrain.network import Network
from twinbrain.neuron import ParameterSet

__all__ = ["WorkingPoint"]


@dataclass(frozen=True, eq=False)
class WorkingPoint:
    """A network at its working point, with what was measured there.

    Attributes
    ----------
    network
        The network that was given, with the calibrated :class:`twinbrain.ParameterSet`; every number is in the set.
    loop_gain, loop_gain_error
        k: gain of the loop through the connectome for slow changes (1 = critical), from the answer to a small step,
        and its standard error.
    slope
        a, current (model units) that moves a region's rate by 1 Hz when all others stay as they are:
        ``h = a (1 - k C) dr``.
    rate_hz
        (region) spontaneous rate, Hz.
    fano
        Variance over mean of the whole brain's spike count in bins of 4 ms, at rest.
    f_i
        (level, region) Hz, rates while the current of each level is held in all ``inputs`` together.
    returns
        Whether every member came back from the strong pulse.
    inputs
        Regions planned as inputs.
    step
        (region) ``change_hz``, the measured answer to the step; ``fitted_hz``, that of the linear network; ``probe``.
    pulse
        (time) ``rate_hz`` mean over members and ``highest_hz`` of any, around a pulse from 0 to 2.5 s.
    breaks
        One row per gain that was tried beyond the working point: gain, rate, Fano factor, how it ended.
    history
        One row per trial on the way.
    settings
        What was asked for, and how it was measured.
    offset_hz
        Rate by which the network of its own size and wiring was off before its background mean was corrected.

    Examples
    --------
    >>> WorkingPoint.__dataclass_params__.frozen
    True
    """

    network: Network
    loop_gain: float
    loop_gain_error: float
    slope: float
    rate_hz: xr.DataArray
    fano: float
    f_i: xr.DataArray
    returns: bool
    inputs: tuple[str, ...]
    step: xr.Dataset
    pulse: xr.Dataset
    breaks: pd.DataFrame
    history: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)
    offset_hz: float = 0.0

    @property
    def rate_range(self) -> tuple[float, float]:
        """Smallest and largest spontaneous rate of a region, Hz."""
        return float(self.rate_hz.min()), float(self.rate_hz.max())

    @property
    def table(self) -> pd.DataFrame:
        """The figures of the working point: value and what is expected of it."""
        low, high = self.rate_range
        chosen = self.network.set
        neuron = chosen.neuron
        wanted = self.settings.get("loop_gain", float("nan"))
        rows = [
            ("loop gain k", f"{self.loop_gain:.3f} +- {self.loop_gain_error:.3f}", f"{wanted:g}; 1 is critical"),
            ("slope a", f"{self.slope:.4f} per Hz", ""),
            ("mean rate", f"{float(self.settings.get('measured_rate_hz', self.rate_hz.mean())):.2f} Hz", ""),
            ("rates of regions", f"{low:.1f} to {high:.1f} Hz", "within a factor of 2"),
            ("Fano factor, 4 ms", f"{self.fano:.1f}", "below 10"),
            ("back after a strong pulse", "yes" if self.returns else "no", "yes"),
            ("breaks at a gain of", self.breaking_point, "well above 1 x"),
            ("background mean", f"{neuron.background_mean:.5f}", ""),
            ("g AMPA, NMDA", f"{neuron.g_ampa:.3g}, {neuron.g_nmda:.3g}", ""),
            ("g GABA A", f"{neuron.g_gaba_a:.3g}", ""),
            ("chi, laminar and canonical", ", ".join(f"{x:.3f}" for x in chosen.long_range_gain), ""),
            ("offset removed", f"{self.offset_hz:+.2f} Hz", "of this size and wiring"),
        ]
        return pd.DataFrame(rows, columns=["figure", "value", "expected"]).set_index("figure")

    @property
    def breaking_point(self) -> str:
        """Where the network would break if the gain were raised, in words."""
        if self.breaks.empty:
            return "not tried"
        bad = self.breaks[self.breaks["end"] != "holds"]
        if bad.empty:
            return f"more than {self.breaks['factor'].max():.2f} x"
        return f"{bad['factor'].iloc[0]:.2f} x ({bad['end'].iloc[0]})"

    def to_dict(self) -> dict[str, Any]:
        """Return figures, settings and all parameters as plain numbers and strings."""
        return {
            "loop_gain": self.loop_gain,
            "loop_gain_error": self.loop_gain_error,
            "slope": self.slope,
            "rate_hz": float(self.settings.get("measured_rate_hz", self.rate_hz.mean())),
            "rate_range_hz": list(self.rate_range),
            "fano": self.fano,
            "returns": self.returns,
            "breaking_point": self.breaking_point,
            "offset_hz": self.offset_hz,
            "inputs": list(self.inputs),
            "settings": dict(self.settings),
            "parameters": self.network.set.to_dict(),
        }

    def to_study(self) -> dict[str, Any]:
        """Return the ``[network]`` table of a study that has these parameters, every number spelled out.

        Merge it into a study's tables and set ``calibration.enabled = false``; see
        :func:`twinbrain.config.study_from_dict`.
        """
        chosen, network = self.network.set, self.network
        names = {str(n) for c in network.circuits for n in c.populations}
        shares = chosen.canonical_shares
        return {
            "circuit": network.circuit,
            "parameters": "nsr",  # every number of it is replaced
            "in_degree": int(network.in_degree),
            "seed": network.seed,
            "overrides": {n: asdict(chosen.of(n)) for n in sorted(names)},
            "long_range_gain": list(chosen.long_range_gain),
            "canonical_shares": list(CANONICAL_SHARES[shares] if isinstance(shares, str) else shares),
            "conductance_scaling": chosen.conductance_scaling,
        }

    def to_dataset(self) -> xr.Dataset:
        """Return everything that is drawn as one Dataset; figures, settings and parameters are its attributes."""
        tried = self.breaks.reset_index(drop=True)
        arrays: dict[str, Any] = {
            "rate_hz": self.rate_hz,
            "f_i_hz": self.f_i,
            "step_change_hz": self.step["change_hz"],
            "step_fitted_hz": self.step["fitted_hz"],
            "step_probe": self.step["probe"].astype(np.int8),
            "pulse_rate_hz": self.pulse["rate_hz"],
            "pulse_highest_hz": self.pulse["highest_hz"],
        }
        for name in ("factor", "rate_hz", "fano"):
            arrays[f"beyond_{name}"] = ("beyond", tried[name].to_numpy(np.float64))
        arrays["beyond_end"] = ("beyond", tried["end"].to_numpy(str))
        attrs = {
            k: v for k, v in self.to_dict().items() if isinstance(v, (int, float, str)) and not isinstance(v, bool)
        }
        attrs |= {"returns": int(self.returns), "inputs": json.dumps(list(self.inputs))}
        attrs |= {"rate_lowest_hz": self.rate_range[0], "rate_highest_hz": self.rate_range[1]}
        attrs |= {f"setting_{k}": v for k, v in self.settings.items()}
        attrs["parameters"] = json.dumps(self.network.set.to_dict(), sort_keys=True)
        attrs["history"] = self.history.to_json(orient="records", double_precision=6)
        return xr.Dataset(arrays, attrs=attrs)

    @classmethod
    def from_dataset(cls, data: xr.Dataset, network: Network) -> WorkingPoint:
        """Return the working point that :meth:`to_dataset` described.

        Parameters
        ----------
        data
            What was stored.
        network
            The network it was found for; its parameters are replaced by the calibrated ones.
        """
        attrs = data.attrs
        chosen = ParameterSet.from_dict(json.loads(attrs["parameters"]))
        breaks = pd.DataFrame({k: data[f"beyond_{k}"].values for k in ("factor", "rate_hz", "fano", "end")})
        step = xr.Dataset(
            {
                "change_hz": data["step_change_hz"],
                "fitted_hz": data["step_fitted_hz"],
                "probe": data["step_probe"].astype(bool),
            }
        )
        pulse = xr.Dataset({"rate_hz": data["pulse_rate_hz"], "highest_hz": data["pulse_highest_hz"]})
        return cls(
            network=replace(network, parameters=chosen, long_range_gain=None, conductance_scaling=None),
            loop_gain=float(attrs["loop_gain"]),
            loop_gain_error=float(attrs["loop_gain_error"]),
            slope=float(attrs["slope"]),
            rate_hz=data["rate_hz"],
            fano=float(attrs["fano"]),
            f_i=data["f_i_hz"],
            returns=bool(attrs["returns"]),
            inputs=tuple(json.loads(attrs["inputs"])),
            step=step,
            pulse=pulse,
            breaks=breaks,
            history=pd.DataFrame(json.loads(attrs["history"])),
            settings={k.removeprefix("setting_"): v for k, v in attrs.items() if k.startswith("setting_")},
            offset_hz=float(attrs["offset_hz"]),
        )

    def __repr__(self) -> str:
        low, high = self.rate_range
        return (
            f"WorkingPoint(k={self.loop_gain:.3f}, slope={self.slope:.4f} per Hz, "
            f"{float(self.rate_hz.mean()):.2f} Hz ({low:.1f}-{high:.1f}), Fano {self.fano:.1f}, "
            f"{'returns' if self.returns else 'does not return'}, breaks at {self.breaking_point})"
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.table.to_html()}"
