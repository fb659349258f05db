r"""From spikes to BOLD: the Balloon-Windkessel model, advanced while the network runs.

With u the share of a voxel's neurons that fire per ms (Friston et al. 2000 NeuroImage 12:466; constants of
Lu et al. 2024)::

    s' = epsilon u - s / tau_s - (f - 1) / tau_f
    f' = s
    v' = (f - v^(1/alpha)) / tau_0
    q' = (f (1 - (1 - E0)^(1/f)) / E0 - q v^(1/alpha - 1)) / tau_0
    y  = V0 (7 E0 (1 - q) + 2 (1 - q/v) + (2 E0 - 0.2) (1 - v))

y is a fraction of the resting signal. The state starts at its fixed point s = 0, f = v = q = 1 and nothing is added
to the activity, so that a silent voxel has a BOLD of exactly 0 for ever.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import xarray as xr
from numba import njit
from numpy.typing import NDArray

from twinbrain.errors import InputError

__all__ = ["Balloon", "advance_balloon", "bold_signal", "resting_state", "sample_steps", "steady_state", "to_regions"]


@dataclass(frozen=True)
class Balloon:
    """Constants of the Balloon-Windkessel model; times in s.

    ``epsilon`` multiplies the share of neurons that fire per ms: 200 means that 1 Hz gives 0.2 per s.

    Examples
    --------
    >>> round(float(steady_state(10.0)), 4)
    0.0259
    """

    epsilon: float = 200.0
    tau_s: float = 0.8
    tau_f: float = 0.4
    tau_0: float = 1.0
    alpha: float = 0.2
    e0: float = 0.8
    v0: float = 0.02

    def __post_init__(self) -> None:
        bad = [n for n in ("tau_s", "tau_f", "tau_0", "alpha", "v0") if not getattr(self, n) > 0]
        if bad or not 0 < self.e0 < 1:
            raise InputError(f"Balloon constants must be positive and e0 between 0 and 1; check {bad or ['e0']}")


def resting_state(*shape: int) -> NDArray[np.float64]:
    """Return states at the fixed point of zero activity: shape (..., 4), last axis s, f, v, q."""
    state = np.ones((*shape, 4))
    state[..., 0] = 0.0
    return state


@njit(nogil=True, boundscheck=False, error_model="numpy", cache=True)
def _advance(state, activity, scale, dt_s, constants):  # type: ignore[no-untyped-def]
    """Forward Euler, all derivatives from the old state; activity (steps, voxels) times scale (voxels) = u."""
    epsilon, tau_s, tau_f, tau_0, alpha, e0, _ = constants
    rest = 1.0 - e0
    log_rest = np.log(rest)
    power = 1.0 / alpha - 1.0
    whole = np.int64(np.round(power))
    is_whole = abs(power - whole) < 1e-12
    h0 = dt_s / tau_0
    for t in range(activity.shape[0]):
        for k in range(activity.shape[1]):
            s, f, v, q = state[k, 0], state[k, 1], state[k, 2], state[k, 3]
            u = activity[t, k] * scale[k]
            if is_whole:
                vp = 1.0
                for _ in range(whole):
                    vp *= v
            else:
                vp = v**power
            # 1 - (1 - E0)^(1/f), written so that it is exactly E0 at f = 1
            extraction = 1.0 - rest * np.exp(log_rest * (1.0 / f - 1.0)) if f != 1.0 else e0
            state[k, 0] = s + dt_s * (epsilon * u - s / tau_s - (f - 1.0) / tau_f)
            state[k, 1] = max(f + dt_s * s, 1e-5)
            state[k, 2] = max(v + h0 * (f - vp * v), 1e-5)
            state[k, 3] = max(q + h0 * (f * (extraction / e0) - q * vp), 1e-5)


def advance_balloon(
    state: NDArray[np.float64],
    activity: NDArray[Any],
    dt_s: float = 1e-3,
    scale: NDArray[np.float64] | float = 1.0,
    balloon: Balloon | None = None,
) -> None:
    """Advance Balloon states in place by the steps of ``activity``.

    Parameters
    ----------
    state
        (voxels, 4): s, f, v, q; see :func:`resting_state`.
    activity
        (steps, voxels): times ``scale`` it is u, the share of neurons that fire per ms; counts of spikes with
        ``scale = 1 / (neurons x step in ms)`` serve as well.
    dt_s
        Step in s (forward Euler, as published, error of order dt).
    scale
        Scalar or one number per voxel.
    balloon
        Constants; default :class:`Balloon`.

    Examples
    --------
    >>> state = resting_state(1)
    >>> advance_balloon(state, np.zeros((1000, 1)))
    >>> float(bold_signal(state)[0])
    0.0
    """
    factor = np.broadcast_to(np.asarray(scale, np.float64), (state.shape[0],))
    _advance(state, activity, factor, dt_s, np.array(astuple(balloon or Balloon())))


def bold_signal(state: NDArray[np.float64], balloon: Balloon | None = None) -> NDArray[np.float64]:
    """Return y (fraction of the resting signal) of Balloon states (..., 4)."""
    b = balloon or Balloon()
    v, q = state[..., 2], state[..., 3]
    return np.asarray(b.v0 * (7 * b.e0 * (1 - q) + 2 * (1 - q / v) + (2 * b.e0 - 0.2) * (1 - v)), np.float64)


def steady_state(rate_hz: float | NDArray[np.float64], balloon: Balloon | None = None) -> NDArray[np.float64]:
    """Return y in the steady state at a constant firing rate, from the algebraic fixed point.

    Examples
    --------
    >>> steady_state(np.array([5.0, 7.5, 20.0])).round(4).tolist()
    [0.0136, 0.02, 0.0448]
    """
    b = balloon or Balloon()
    f = 1 + b.epsilon * b.tau_f * np.asarray(rate_hz, np.float64) / 1000.0
    v = f**b.alpha
    q = f * (1 - (1 - b.e0) ** (1 / f)) / b.e0 / v ** (1 / b.alpha - 1)
    state = np.stack([np.zeros_like(f), f, v, q], axis=-1)
    return bold_signal(state, b)


def sample_steps(samples: int, repetition_time_s: float, step_ms: float = 1.0) -> tuple[NDArray[np.int64], float]:
    """Return the step at which each BOLD sample is taken, and the largest offset from its true time in s.

    Sample k (from 1) belongs to time k TR; it is taken at the nearest step of the integer clock, so the offset is at
    most half a step and does not grow.

    Raises
    ------
    InputError
        If the repetition time is shorter than one step.

    Examples
    --------
    >>> steps, offset = sample_steps(3, 1.3675)
    >>> steps.tolist(), round(offset, 4)
    ([1367, 2735, 4102], 0.0005)
    """
    if repetition_time_s * 1000 < step_ms:
        raise InputError(
            f"the repetition time ({repetition_time_s} s) is shorter than one exchange step ({step_ms} ms); "
            "give repetition_time_s in seconds"
        )
    exact = np.arange(1, samples + 1) * repetition_time_s * 1000 / step_ms
    steps = np.floor(exact + 0.5 - 1e-9).astype(np.int64)
    offset = float(np.abs(steps - exact).max() * step_ms / 1000) if samples else 0.0
    if offset < 1e-9:
        offset = 0.0
    return steps, offset


def to_regions(bold: xr.DataArray) -> xr.DataArray:
    """Average a BOLD (time, voxel) over the voxels of each region, weighted by grey matter.

    Parameters
    ----------
    bold
        With coordinates ``region`` and ``weight`` along ``voxel``, as :func:`twinbrain.simulate` returns it.
    """
    weighted = (bold * bold["weight"]).groupby("region").sum() / bold["weight"].groupby("region").sum()
    names = list(dict.fromkeys(str(r) for r in bold["region"].values))
    out = weighted.sel(region=names).transpose(..., "time", "region")
    out.attrs = dict(bold.attrs)
    return out
