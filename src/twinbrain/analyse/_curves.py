"""What the figures of an analysis are drawn from: small labelled arrays, ready for the store."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from twinbrain.analyse._numeric import Floats
from twinbrain.analyse.avalanches import Avalanches
from twinbrain.analyse.causality import Granger
from twinbrain.analyse.criticality import Criticality
from twinbrain.analyse.fcd import ConnectivityDynamics
from twinbrain.analyse.power_law import PowerLaw
from twinbrain.analyse.spectra import Spectra
from twinbrain.analyse.synchrony import Synchrony
from twinbrain.errors import InputError

_FCD_EDGES = np.linspace(-1.0, 1.0, 81)
_SIZE_EDGES = np.unique(np.ceil(np.geomspace(1.0, 1e9, 145)))  # 16 per decade, whole numbers
_TALLEST = 400  # windows of a stored FCD matrix


def of_synchrony(found: Synchrony) -> xr.Dataset:
    """Order parameter over time."""
    return xr.Dataset({"order": found.order})


def of_dynamics(found: ConnectivityDynamics) -> xr.Dataset:
    """FCD matrix, the distribution of its values and that of its surrogates."""
    step = -(-found.matrix.sizes["window"] // _TALLEST)
    centres = (_FCD_EDGES[1:] + _FCD_EDGES[:-1]) / 2
    counts = np.histogram(found.values.to_numpy(), _FCD_EDGES)[0] / max(found.values.size, 1)
    null = np.histogram(found.null_values.to_numpy(), _FCD_EDGES)[0] / max(found.null_values.size, 1)
    return xr.Dataset(
        {
            "fcd": found.matrix[::step, ::step],
            "fcd_share": ("fcd_value", counts),
            "fcd_share_null": ("fcd_value", null if found.null_values.size else np.full(len(counts), np.nan)),
        },
        coords={"fcd_value": centres},
    )


def mean_spectrum(found: Spectra) -> xr.DataArray:
    """Mean over series of the power relative to its total."""
    return (found.power / found.power.sum("frequency")).mean(str(found.power.dims[1]))


def of_spectra(found: Spectra, prefix: str = "") -> xr.Dataset:
    """Quartiles over series of the relative spectrum, and of its AR(1) background with a 95 % band of one series."""
    dim = str(found.power.dims[1])
    frequency = f"{prefix}frequency"
    total = found.power.sum("frequency")
    relative, background = found.power / total, (found.background / total).median(dim)
    curves = {"power": relative.median(dim), "background": background}
    curves |= {"power_low": relative.quantile(0.25, dim), "power_high": relative.quantile(0.75, dim)}
    # the factors turn an estimate into the truth's interval; their inverses turn the truth into the estimate's
    curves |= {"background_low": background / found.high_factor, "background_high": background / found.low_factor}
    values = {f"{prefix}{name}": (frequency, curve.to_numpy()) for name, curve in curves.items()}
    attrs = {f"{prefix}resolution_hz": found.resolution_hz, f"{prefix}series": int(found.power.sizes[dim])}
    return xr.Dataset(values, coords={frequency: found.power["frequency"].to_numpy()}, attrs=attrs)


def of_avalanches(found: Criticality, null: Callable[[int], Avalanches], draws: int, prefix: str = "") -> xr.Dataset:
    """Densities of sizes and durations, their fits, and the mean densities of surrogates ``null(draw)``."""
    drawn = []
    for draw in range(draws):
        try:
            drawn.append(null(draw))
        except InputError:  # nothing crosses the threshold
            continue
    curves: dict[str, tuple[str, Floats]] = {}
    centres = np.sqrt(_SIZE_EDGES[:-1] * (_SIZE_EDGES[1:] - 1))
    for name, values, fit in (
        ("size", found.avalanches.sizes.to_numpy(), found.size_fit),
        ("duration", found.avalanches.durations.to_numpy(), found.duration_fit),
    ):
        others = np.concatenate([getattr(one, f"{name}s").to_numpy() for one in drawn]) if drawn else np.empty(0)
        curves[f"{prefix}{name}_density"] = (f"{prefix}{name}", _density(values, _SIZE_EDGES))
        curves[f"{prefix}{name}_density_null"] = (f"{prefix}{name}", _density(others, _SIZE_EDGES))
        curves[f"{prefix}{name}_fit"] = (f"{prefix}{name}", _fitted(values, fit, centres))
    data = xr.Dataset(curves, coords={f"{prefix}{name}": centres for name in ("size", "duration")})
    for name in (f"{prefix}size", f"{prefix}duration"):  # nothing lies beyond the largest
        some = np.isfinite(data[f"{name}_density"]) | np.isfinite(data[f"{name}_density_null"])
        data = data.isel({name: slice(0, int(np.flatnonzero(some)[-1]) + 1 if some.any() else 0)})
    return data


def _density(values: Floats, edges: Floats) -> Floats:
    """Probability per whole number in bins; NaN where there is none."""
    if not len(values):
        return np.full(len(edges) - 1, np.nan)
    density = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
    return np.where(density > 0, density, np.nan)


def _fitted(values: Floats, fit: PowerLaw, at: Floats) -> Floats:
    """The power law over its range, as high as the share of values in it."""
    top = float(fit.xmax) if fit.xmax is not None else float(values.max())
    inside = (values >= fit.xmin) & (values <= top)
    whole = np.arange(fit.xmin, min(top, 1e6) + 1, dtype=np.float64)
    scale = inside.mean() / (whole**-fit.exponent).sum()
    drawn = np.where((at >= fit.xmin) & (at <= top), scale * at**-fit.exponent, np.nan)
    return np.asarray(drawn if np.isfinite(fit.exponent) else np.full(len(at), np.nan))


def of_causality(found: Granger) -> xr.Dataset:
    """Causality between channels, and how sure it is."""
    return xr.Dataset({"granger": found.F, "granger_q": found.q}, attrs={"granger_order": found.order})
