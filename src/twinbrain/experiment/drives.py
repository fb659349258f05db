"""What the estimated drives of several places say: their rhythms, and who leads whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.analyse.causality import granger
from twinbrain.analyse.spectra import Spectra, spectra
from twinbrain.errors import InputError
from twinbrain.experiment.stats import holm

__all__ = ["combined_links", "drive_links", "drive_spectra", "place_series", "thinned"]

_MOST_LAGS = 8
_LEAST = 80  # samples of a thinned drive


def place_series(drive: xr.DataArray, places: Mapping[str, Sequence[str]]) -> xr.DataArray:
    """Average the drives of the regions of each place.

    Parameters
    ----------
    drive
        (time, input), model units of current.
    places
        Place -> its regions; those without a drive are left out, and places without any.

    Returns
    -------
    xarray.DataArray
        (time, input), one input per place.

    Raises
    ------
    InputError
        If no place has a drive.

    Examples
    --------
    >>> h = xr.DataArray(np.ones((2, 2)), dims=("time", "input"), coords={"time": [0, 1], "input": ["A_L", "A_R"]})
    >>> place_series(h, {"A": ["A_L", "A_R"], "B": ["B_L"]})["input"].values.tolist()
    ['A']
    """
    there = {str(x) for x in drive["input"].values}
    found = {place: [n for n in names if n in there] for place, names in places.items()}
    found = {place: names for place, names in found.items() if names}
    if not found:
        raise InputError(f"drives: none of the places {', '.join(places)} has one; fit their regions.")
    parts = [drive.sel(input=names).mean("input") for names in found.values()]
    return xr.concat(parts, dim="input").assign_coords(input=list(found)).transpose("time", "input")


def drive_spectra(series: xr.DataArray, band_hz: tuple[float, float], *, seed: int = 0) -> Spectra:
    """Power spectra of drives inside the band of the fit, with the confidence band and the AR(1) background.

    Parameters
    ----------
    series
        (time, input), ``time`` in s.
    band_hz
        Pass band of the fit's target, Hz; outside of it drives carry nothing.
    seed
        Of the nulls.

    Notes
    -----
    The resolution is 0.005 Hz, or what the length allows: four independent tapers. What the band-pass of the target
    took away near its corners is given back first (at most a factor of 2): a filtered series is no AR(1) process, and
    the fall at its corners would leave peaks in between.

    Examples
    --------
    >>> drive_spectra.__kwdefaults__["seed"]
    0
    """
    time = np.asarray(series["time"].values, np.float64)
    length = len(time) * (time[1] - time[0])
    resolution = max(0.005, 5.0 / length)
    low = max(band_hz[0], resolution)
    return spectra(
        _restored(series, band_hz),
        resolution_hz=resolution,
        search_hz=(low, band_hz[1]),
        band_hz=band_hz,
        nulls=0,
        seed=seed,
    )


def _restored(series: xr.DataArray, band_hz: tuple[float, float]) -> xr.DataArray:
    """Divide by the gain of the Butterworth filter of order 2, forwards and backwards, where it is at least a half."""
    from scipy.signal import butter, sosfreqz

    time = np.asarray(series["time"].values, np.float64)
    rate = 1.0 / float(time[1] - time[0])
    if not 0 < band_hz[0] < band_hz[1] < rate / 2:
        return series
    ordered = series.transpose("time", "input")
    values = np.asarray(ordered.values, np.float64)
    frequency = np.fft.rfftfreq(2 * len(values), 1.0 / rate)
    sections = butter(2, band_hz, btype="bandpass", fs=rate, output="sos")
    gain = np.abs(sosfreqz(sections, frequency, fs=rate)[1]) ** 2
    mirrored = np.concatenate([values, values[::-1]])  # no jump at the ends
    restored = np.fft.irfft(np.fft.rfft(mirrored, axis=0) / np.maximum(gain, 0.5)[:, None], axis=0)
    return ordered.copy(data=restored[: len(values)])


def thinned(series: xr.DataArray, band_hz: tuple[float, float]) -> xr.DataArray:
    """Average over blocks of a quarter of a period of the highest frequency of the band.

    A band-passed series is smooth: its samples tell the same many times, which makes the order of an autoregression
    large and its test wrong. Longer blocks are worse: where a link is quicker than a block, the means of both drives
    seem to lead each other. With drives of known links, blocks of 1 / (4 f) and as many lags as they need were right.

    Parameters
    ----------
    series
        (time, input), ``time`` in s, even.
    band_hz
        Pass band, Hz.

    Examples
    --------
    >>> x = xr.DataArray(np.zeros((70, 1)), dims=("time", "input"), coords={"time": np.arange(70) * 0.72})
    >>> thinned(x, (0.01, 0.1)).sizes["time"]
    23
    """
    time = np.asarray(series["time"].values, np.float64)
    step = max(1, int(1.0 / (4.0 * band_hz[1] * (time[1] - time[0]))))
    return series.isel(time=slice(0, len(time) // step * step)).coarsen(time=step).mean()


def drive_links(
    series: xr.DataArray, band_hz: tuple[float, float], *, surrogates: int = 199, seed: int = 0
) -> pd.DataFrame:
    """Ask which drive leads which, given all the others.

    Conditional Granger causality of the thinned drives, order by BIC (up to 8 blocks). The F test is wrong for filtered
    series (it found links among 5 independent drives in 5 of 20 repetitions instead of 1), so p comes from surrogates:
    each drive is turned in time by its own random amount, which keeps its spectrum and cuts every link.

    Parameters
    ----------
    series
        (time, input) drives of places.
    band_hz
        Pass band of the fit's target, Hz.
    surrogates, seed
        Their number, and the key of their random numbers.

    Returns
    -------
    pandas.DataFrame
        source, target, F (nats), low, high, ``p`` of the direction by itself, ``p_family``: how often the largest F of
        any direction reaches this one by chance; order, samples.

    Raises
    ------
    InputError
        If fewer than 80 blocks are left, or there is one place only.

    Notes
    -----
    The drives are estimates: what the deconvolution smears in time, and what the connectome of the model gets wrong,
    can reverse or invent a link. Links of a person of known truth are the test of that (docs, "Inputs").

    Examples
    --------
    >>> drive_links.__annotations__["return"]
    'pd.DataFrame'
    """
    sparse = thinned(series, band_hz)
    if sparse.sizes["time"] < _LEAST or sparse.sizes["input"] < 2:
        raise InputError(
            f"links between drives need at least {_LEAST} blocks of {1 / (4 * band_hz[1]):.1f} s and two places, found "
            f"{sparse.sizes['time']} and {sparse.sizes['input']}; fit more volumes."
        )
    found = granger(sparse, max_order=_MOST_LAGS, nulls=surrogates, null="shift", seed=seed)
    assert found.F_of_null is not None
    largest = np.nanmax(found.F_of_null.values, axis=(1, 2))
    names = [str(n) for n in sparse["input"].values]
    rows = [
        {
            "source": a,
            "target": b,
            "F": float(found.F.sel(source=a, target=b)),
            "low": float(found.low.sel(source=a, target=b)),
            "high": float(found.high.sel(source=a, target=b)),
            "p": _share(found.F_of_null.sel(source=a, target=b).values, float(found.F.sel(source=a, target=b))),
            "p_family": _share(largest, float(found.F.sel(source=a, target=b))),
        }
        for a in names
        for b in names
        if a != b
    ]
    return pd.DataFrame(rows).assign(order=found.order, samples=sparse.sizes["time"])


def _share(null: npt.NDArray[np.float64], value: float) -> float:
    return float((1 + np.sum(null >= value)) / (1 + len(null)))


def combined_links(links: pd.DataFrame) -> pd.DataFrame:
    """Combine links over people: Fisher's p of each direction, corrected for the number of directions.

    Parameters
    ----------
    links
        Rows of :func:`drive_links` with a column ``person``.

    Returns
    -------
    pandas.DataFrame
        source, target, F (mean), p, p_family (Holm), people, found (people with p_family < 0.05 by themselves).

    Examples
    --------
    >>> one = pd.DataFrame({"person": ["a", "b"], "source": "x", "target": "y", "F": [0.1, 0.3], "p": [0.01, 0.02],
    ...                     "p_family": [0.04, 0.06]})
    >>> combined_links(one)[["F", "people", "found"]].values.tolist()
    [[0.2, 2.0, 1.0]]
    """
    from scipy.stats import combine_pvalues

    rows = []
    for (source, target), part in links.groupby(["source", "target"], sort=False):
        p = np.maximum(part["p"].to_numpy(np.float64), 1e-300)
        row = {"source": source, "target": target, "F": part["F"].mean(), "p": float(combine_pvalues(p).pvalue)}
        rows.append(row | {"people": len(part), "found": int((part["p_family"] < 0.05).sum())})
    table = pd.DataFrame(rows)
    table.insert(4, "p_family", holm(table["p"].to_numpy()))
    return table
