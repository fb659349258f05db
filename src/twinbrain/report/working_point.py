"""The section "Working point": what was calibrated before anything was fitted, and how far it is from breaking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from twinbrain.report import style, words
from twinbrain.report.blocks import Section
from twinbrain.report.reading import Reading

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

_PULSE_S = 2.5


def working_point(reading: Reading) -> Section:
    """Say how the network was calibrated: loop gain, rate, synchrony, f-I curve, margin.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> working_point(Reading(Content())).title
    'Working point'
    """
    section = Section("working-point", "Working point")
    data = reading.groups.get("working_point")
    if data is None:
        section.say("The results hold no calibration: the named parameter set was used as it is.", kind="quiet")
        return section
    attrs = data.attrs
    k, error, fano = (words.as_float(attrs.get(name)) for name in ("loop_gain", "loop_gain_error", "fano"))
    low, high = (words.as_float(attrs.get(f"rate_{name}_hz")) for name in ("lowest", "highest"))
    section.say(
        f"Before the fit, {attrs.get('setting_screw', 'the gain')} and the background current were tuned on a small "
        f"network ({words.count(attrs.get('setting_neurons', float('nan')))} neurons) until it fires at "
        f"{words.decimals(attrs.get('rate_hz'))} Hz (regions {words.decimals(low)} to {words.decimals(high)} Hz) and a "
        f"small current into a few regions travels on with a loop gain of k = {words.decimals(k, 2)} ± "
        f"{words.decimals(error, 2)}: 0 would mean that nothing is passed on, 1 that activity feeds itself without "
        f"end. The Fano factor of the whole brain's spikes in 4 ms is {words.decimals(fano)} (below 10: asynchronous). "
        f"A region's rate moves by 1 Hz for a current of {words.number(attrs.get('slope'))}."
    )
    if "setting_refused" in attrs:
        section.say(
            f"The defaults of the calibration were refused ({attrs['setting_refused']}). Taken instead: "
            f"{100 * words.as_float(attrs.get('setting_nmda_share')):.0f} % of the excitatory charge in NMDA and a "
            f"loop gain of {words.decimals(attrs.get('setting_loop_gain'), 2)}: with a lower gain the inputs reach "
            "the other regions less."
        )
    section.say(_margin_sentence(data))
    offset = words.as_float(attrs.get("twin_offset_hz"))
    if np.isfinite(offset):
        section.say(
            f"At the size and wiring of the twin the same parameters gave a rate {words.decimals(abs(offset), 2)} Hz "
            f"{'higher' if offset > 0 else 'lower'}; the background current was corrected by a short search, so that "
            "this offset is no part of the results."
        )
    inputs = {name for name in reading.inputs if name in data["region"].values}
    section.show(
        "working-point",
        calibration_figure(data, inputs),
        "Four panels: rates against the current into the inputs; measured and linear answer to a small step; the rate "
        "during and after a strong pulse; Fano factor when the gain is raised.",
        "f-I curve: rates while one current is held in all inputs (orange: inputs, grey: other regions). Answer to a "
        "small step: each dot a region that was not driven, against the linear network with the gain found. Strong "
        "pulse: mean of all neurons and the highest member; the network must come back. Margin: the gain raised step "
        "by step until the network breaks.",
    )
    return section


def _margin_sentence(data: xr.Dataset) -> str:
    ends = [str(end) for end in data["beyond_end"].values] if "beyond_end" in data else []
    pulse = (
        f"A pulse of {_PULSE_S:g} s that drove the network to {words.decimals(data['pulse_rate_hz'].max())} Hz left "
        "nothing behind. "
    )
    if not ends:
        return pulse + "How far the gain could be raised was not tried."
    factors = np.asarray(data["beyond_factor"].values, dtype=np.float64)
    meaning = {
        "bistable": "a strong input, or the start itself, sends it into a second state that it does not leave",
        "synchronous": "it fires in synchrony",
    }
    if ends[-1] == "holds":
        return pulse + f"It holds up to {factors[-1]:.2f} times its gain, the most that was tried."
    return (
        pulse
        + f"It would break at {factors[-1]:.2f} times its gain, where {meaning.get(ends[-1], ends[-1])}."
        + (f" It still holds at {factors[-2]:.2f} times." if len(factors) > 1 else "")
    )


def calibration_figure(data: xr.Dataset, inputs: set[str]) -> Figure:
    """Draw f-I curve, step test, pulse test and margin.

    Parameters
    ----------
    data : Dataset
        The stored group ``working_point``.
    inputs : set of str
        Regions drawn as inputs.

    Examples
    --------
    >>> import xarray as xr
    >>> r = {"region": ["a", "b"]}
    >>> data = xr.Dataset({"f_i_hz": (("level", "region"), np.ones((2, 2))), "step_change_hz": ("region", [1.0, 2.0]),
    ...     "step_fitted_hz": ("region", [1.0, 2.0]), "step_probe": ("region", [1, 0]),
    ...     "pulse_rate_hz": ("time", [4.0, 4.0]), "pulse_highest_hz": ("time", [4.0, 4.0])},
    ...     coords={**r, "level": [0.0, 0.1], "time": [0.0, 1.0]}, attrs={"fano": 2.0})
    >>> len(calibration_figure(data, {"a"}).axes)
    4
    """
    figure = style.new_figure(9.4, 5.0)
    curve, step, pulse, margin = style.grid(figure, 2, 2)
    rates = data["f_i_hz"].transpose("level", "region")
    level = np.asarray(rates["level"].values, dtype=np.float64)
    for name in rates["region"].values:
        if str(name) not in inputs:
            curve.plot(level, rates.sel(region=name).values, color=style.MUTED, linewidth=0.5, alpha=0.5)
    for name in sorted(inputs):
        curve.plot(level, rates.sel(region=name).values, "o-", color=style.INPUT, linewidth=1.2, markersize=3)
    _label(curve, "f-I curve", "current into all inputs", "rate (Hz)")
    free = np.asarray(data["step_probe"].values) == 0
    fitted, change = (np.asarray(data[f"step_{n}_hz"].values, dtype=np.float64)[free] for n in ("fitted", "change"))
    step.plot(fitted, change, ".", color=style.TWIN, markersize=6, alpha=0.7, mew=0)
    most = float(max(fitted.max(), change.max())) if free.any() else 1.0
    step.plot([0, most], [0, most], color=style.RECORDED, linewidth=0.8)
    _label(step, "Answer to a small step", "linear network (Hz)", "measured (Hz)")
    time = np.asarray(data["time"].values, dtype=np.float64)
    pulse.axvspan(0, _PULSE_S, color=style.GRID, linewidth=0)
    pulse.plot(time, data["pulse_highest_hz"].values, color=style.MUTED, linewidth=0.9, label="highest member")
    pulse.plot(time, data["pulse_rate_hz"].values, color=style.TWIN, linewidth=1.4, label="mean")
    pulse.legend(frameon=False, fontsize=8)
    _label(pulse, "Strong pulse", "time (s)", "rate of all neurons (Hz)")
    _draw_margin(margin, data)
    return figure


def _draw_margin(axis: Any, data: xr.Dataset) -> None:
    factors, fano, ends = [1.0], [words.as_float(data.attrs.get("fano"))], ["holds"]
    if "beyond_end" in data:
        factors += [float(x) for x in data["beyond_factor"].values]
        fano += [float(x) for x in data["beyond_fano"].values]
        ends += [str(x) for x in data["beyond_end"].values]
    shown = [x if np.isfinite(x) else fano[0] for x in fano]
    axis.plot(factors, shown, color=style.TWIN, linewidth=1.2)
    for x, y, end in zip(factors, shown, ends, strict=True):
        axis.plot([x], [y], "o" if end == "holds" else "X", color=style.TWIN if end == "holds" else style.INPUT)
        if end != "holds":
            axis.annotate(end, (x, y), xytext=(-4, 6), textcoords="offset points", fontsize=8.5, ha="right")
    axis.axhline(10, color=style.RECORDED, linewidth=0.8, dashes=(4, 2))
    if max(shown) > 100:
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, max(11.0, 1.15 * max(shown)))
    axis.set_xlim(0.98, max(1.2, 1.03 * max(factors)))
    _label(axis, "Margin", "gain, relative to the working point", "Fano factor, 4 ms")


def _label(axis: Any, title: str, x: str, y: str) -> None:
    style.title(axis, title)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
