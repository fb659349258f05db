"""Granger causality: equal to a referee, right where the truth is known, silent where there is none."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_are
from scipy.stats import binom

from twinbrain.analyse.causality import _spectra, _without, granger
from twinbrain.analyse.var import (
    Autoregression,
    bic_of_orders,
    fit_autoregression,
    run_autoregression,
)
from twinbrain.errors import InputError

# two lags; 0 drives 1 and 2 (common driver), 2 drives 3 (chain 0 -> 2 -> 3), 4 alone
PLANTED = np.zeros((2, 5, 5))
PLANTED[0] += np.diag([0.5, 0.4, 0.5, 0.4, 0.6])
PLANTED[1] += np.diag([-0.4, -0.2, -0.3, -0.2, -0.3])
PLANTED[0, 1, 0], PLANTED[1, 2, 0], PLANTED[0, 3, 2] = 0.5, 0.5, 0.5
TRUE = PLANTED.any(axis=0) & ~np.eye(5, dtype=bool)


def labelled(values: np.ndarray, names: str = "ABCDEFGH", step_s: float = 0.8) -> xr.DataArray:
    coords = {"time": np.arange(len(values)) * step_s, "region": list(names[: values.shape[1]])}
    return xr.DataArray(values, dims=("time", "region"), coords=coords, attrs={"units": "1"})


def planted(volumes: int = 1500, draw: int = 0) -> xr.DataArray:
    return labelled(run_autoregression(PLANTED, np.eye(5), volumes, seed=11, draw=draw))


# ---- against the referee ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 3])
def test_pairs_equal_statsmodels(order: int) -> None:
    stattools = pytest.importorskip("statsmodels.tsa.stattools")
    x = planted(300)
    found = granger(x, order=order, conditional=False)
    for target, source in (("A", "B"), ("B", "A"), ("D", "C")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            test = stattools.grangercausalitytests(x.sel(region=[target, source]).values, [order])[order][0]
        f, p, free, lags = test["ssr_ftest"]
        cell = {"target": target, "source": source}
        assert float(found.statistic.sel(cell)) == pytest.approx(f, rel=1e-8)
        assert float(found.p.sel(cell)) == pytest.approx(p, rel=1e-8, abs=1e-300)
        assert found.degrees_of_freedom == (lags, free)
        # control: the other direction is another number
        assert float(found.statistic.sel(target=source, source=target)) != pytest.approx(f, rel=1e-3)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_conditional_equals_least_squares(order: int) -> None:
    ols = pytest.importorskip("statsmodels.api").OLS
    x = planted(200).values * np.array([1.0, 1e3, 1e-4, 1.0, 5.0]) + np.array([0, 1e3, 0, -7, 1.0])
    found = granger(labelled(x), order=order)
    rows = np.hstack([np.ones((len(x) - order, 1)), *(x[order - k : len(x) - k] for k in range(1, order + 1))])
    for target in range(5):
        full = ols(x[order:, target], rows).fit()
        for source in {0, 1, 2, 3, 4} - {target}:
            kept = [c for c in range(rows.shape[1]) if c == 0 or (c - 1) % 5 != source]
            restricted = ols(x[order:, target], rows[:, kept]).fit()
            f, p, lags = full.compare_f_test(restricted)
            assert float(found.statistic[target, source]) == pytest.approx(f, rel=1e-8, abs=1e-10)
            assert float(found.p[target, source]) == pytest.approx(p, rel=1e-8, abs=1e-300)
            assert float(found.F[target, source]) == pytest.approx(
                np.log(restricted.ssr / full.ssr), rel=1e-7, abs=1e-10
            )
            assert lags == order


def test_orders_are_judged_as_statsmodels_judges_them() -> None:
    var = pytest.importorskip("statsmodels.tsa.api").VAR
    x = planted(400).values * np.array([1, 10, 1, 1, 0.1])
    ours = bic_of_orders(x, 6)
    theirs = [var(x[6 - p :]).fit(p).bic for p in range(1, 7)]
    assert np.allclose(ours, theirs, rtol=0, atol=1e-9)
    assert int(np.argmin(ours)) + 1 == 2 == granger(planted(400)).order
    model, referee = fit_autoregression(x, 2), var(x).fit(2)
    assert np.allclose(model.coefficients, referee.coefs, rtol=1e-8, atol=1e-10)
    assert np.allclose(model.covariance, referee.sigma_u, rtol=1e-10)


# ---- truth and silence -----------------------------------------------------------------------------------------------


def test_planted_directions_are_found_and_conditioning_removes_the_spurious() -> None:
    found = granger(planted())
    assert found.order == 2
    q = found.q.values
    assert (q[TRUE] < 1e-6).all()
    assert (q[~TRUE & ~np.eye(5, dtype=bool)] > 0.05).all()
    assert np.isnan(np.diag(q)).all()
    # control: pairs alone take the common driver (B before C's later answer) and the chain (A -> C -> D) for influence
    pairs = granger(planted(), conditional=False)
    for target, source in (("C", "B"), ("D", "A")):
        assert float(pairs.q.sel(target=target, source=source)) < 0.001
        assert float(found.q.sel(target=target, source=source)) > 0.05
    assert (pairs.q.sel(target="E").dropna("source") > 0.01).all()


def rejected(repetitions: int) -> int:
    """Count false alarms at 5 % of one direction, between correlated and coloured but unconnected series."""
    a = np.array([np.diag([0.6, 0.5, 0.7]), np.diag([-0.3, 0.2, -0.2])])
    noise = np.array([[1.0, 0.4, 0.3], [0.4, 1.0, 0.2], [0.3, 0.2, 1.0]])
    count = 0
    for k in range(repetitions):
        x = run_autoregression(a, noise, 300, draw=k, seed=5)
        count += bool(granger(labelled(x), order=2).p[0, 1] < 0.05)
    return count


def test_false_positives_are_as_many_as_promised() -> None:
    low, high = binom.interval(0.99, 200, 0.05)
    assert low <= rejected(200) <= high


@pytest.mark.slow
def test_false_positives_of_a_thousand_nulls() -> None:
    assert 33 <= rejected(1000) <= 69


def test_intervals_hold_the_truth_as_often_as_promised() -> None:
    a, noise = [[[0.5, 0.0], [0.3, 0.5]]], np.eye(2)
    _, truth = _spectra(model_of(np.array(a), noise), np.array([0.1]))
    inside = 0
    for k in range(200):
        found = granger(labelled(run_autoregression(a, noise, 300, draw=k, seed=6)), order=1)
        inside += bool(found.low[1, 0] <= truth[1, 0] <= found.high[1, 0])
        assert found.low[0, 1] >= 0
    low, high = binom.interval(0.999, 200, 0.95)
    assert low <= inside <= high


@pytest.mark.parametrize("null", ["phase", "shift"])
def test_surrogates_lose_the_influence(null: str) -> None:
    x = planted(600)
    found = granger(x, order=2, nulls=39, null=null, seed=3)
    again = granger(x, order=2, nulls=39, null=null, seed=3)
    assert found.null_mean is not None
    assert found.null_p is not None
    assert (found.null_p.values[TRUE] == 1 / 40).all()
    assert (found.F.values > found.null_mean.values + 5 * found.null_sd.values)[TRUE].all()
    assert float(found.null_p.sel(target="A", source="E")) > 1 / 40
    # two lags and n volumes: without influence F is about 2 / n
    assert np.nanmean(found.null_mean) == pytest.approx(2 / 598, rel=0.3)
    assert found.null_mean.equals(again.null_mean)
    assert not found.null_mean.equals(granger(x, order=2, nulls=39, null=null, seed=4).null_mean)


# ---- by frequency ----------------------------------------------------------------------------------------------------


def model_of(coefficients: np.ndarray, covariance: np.ndarray) -> Autoregression:
    return Autoregression(coefficients, covariance * 1000.0, np.zeros((1, 1)), 1000, 1000)


def random_model(seed: int) -> Autoregression:
    """Make a stationary model of 2-5 channels and 1-4 lags with shared noise."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    n, p = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    a = rng.normal(size=(p, n, n))
    shrink = rng.uniform(0.3, 0.97) / model_of(a, np.eye(n)).radius
    mix = rng.normal(size=(n, n))
    return model_of(a * (shrink ** np.arange(1, p + 1))[:, None, None], mix @ mix.T + 0.1 * np.eye(n))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_the_mean_over_frequency_is_the_causality_in_time(seed: int) -> None:
    model = random_model(seed)
    order, n = model.coefficients.shape[:2]
    spectra, whole = _spectra(model, (np.arange(4096) + 0.5) / 8192)
    sigma = model.covariance
    for x in range(n):
        others = np.delete(np.arange(n), x)
        _, total, update, hidden = _without(model, x)
        start = -update @ sigma[np.ix_(others, others)]
        start[0] += sigma[x, others]
        for j, y in enumerate(others):
            # Jensen: each zero of the transfer inside the unit circle takes 2 ln of its inverse from the mean
            zeros = np.abs(np.linalg.eigvals(hidden - np.outer(start[:, j] / sigma[y, y], model.coefficients[:, y, x])))
            if np.abs(zeros - 1).min() < 0.005:
                continue  # the grid is too coarse for a zero on the circle
            missing = 2 * np.log(zeros[zeros > 1]).sum()
            assert spectra[:, y, x].mean() == pytest.approx(whole[y, x] - missing, abs=1e-6)
        # the small Riccati equation gives what the whole state's gives
        a = np.eye(n * order, k=-n)
        a[:n] = model.coefficients.transpose(1, 0, 2).reshape(n, -1)
        noise, cross = np.zeros_like(a), np.zeros((n * order, n - 1))
        noise[:n, :n], cross[:n] = sigma, sigma[:, others]
        error = solve_discrete_are(a.T, a[others].T, noise, sigma[np.ix_(others, others)], s=cross)
        assert np.allclose(total, np.diag(a[others] @ error @ a[others].T + sigma[np.ix_(others, others)]), rtol=1e-6)


def test_two_channels_by_frequency_are_gewekes() -> None:
    """For two channels: ln of the spectrum of y over its part without x (Geweke 1982), written out."""
    a, sigma = np.array([[[0.5, 0.4], [-0.2, 0.6]], [[-0.3, 0.2], [0.1, -0.2]]]), np.array([[1.0, 0.3], [0.3, 0.8]])
    places = np.array([0.01, 0.1, 0.27, 0.45])
    spectra, _ = _spectra(model_of(a, sigma), places)
    for place, found in zip(places, spectra, strict=True):
        z = np.exp(-2j * np.pi * place)
        transfer = np.linalg.inv(np.eye(2) - a[0] * z - a[1] * z**2)
        power = (transfer @ sigma @ transfer.conj().T).real
        for y, x in ((0, 1), (1, 0)):
            rest = sigma[x, x] - sigma[x, y] ** 2 / sigma[y, y]
            expected = np.log(power[y, y] / (power[y, y] - rest * abs(transfer[y, x]) ** 2))
            assert found[y, x] == pytest.approx(expected, rel=1e-9)


def test_the_spectrum_says_where_the_influence_is() -> None:
    """A rhythm of 0.1 cycles per volume in A is sent to B: the spectrum peaks there, and only in that direction."""
    a = np.zeros((2, 3, 3))
    a[0] = np.diag([2 * 0.9 * np.cos(0.2 * np.pi), 0.3, 0.3])
    a[1, 0, 0], a[0, 1, 0] = -0.81, 0.4
    x = labelled(run_autoregression(a, np.eye(3), 3000, seed=2))
    found = granger(x, frequencies=256)
    assert found.spectra is not None
    assert found.F_of_model is not None
    assert found.spectra.dims == ("frequency", "target", "source")
    assert float(found.spectra.frequency[-1]) < 0.5 / 0.8
    peak = found.spectra.sel(target="B", source="A").idxmax("frequency")
    assert float(peak) == pytest.approx(0.1 / 0.8, abs=0.01)
    assert float(found.spectra.sel(target="A", source="B").max()) < 0.05
    assert np.allclose(found.spectra.mean("frequency"), found.F_of_model, atol=1e-6, equal_nan=True)
    _, truth = _spectra(model_of(a, np.eye(3)), np.array([0.1]))
    assert np.allclose(found.F_of_model.fillna(0), truth, atol=0.03)
    assert not np.allclose(found.F_of_model.fillna(0), truth.T, atol=0.1)
    # two lags are too few for B without A, so that F comes out too large; with more lags it comes near
    ahead = {"target": "B", "source": "A"}
    assert float(found.F.sel(ahead)) > truth[1, 0] + 0.1
    assert float(granger(x, order=12).F.sel(ahead)) == pytest.approx(truth[1, 0], abs=0.04)
    pairs = granger(planted(), conditional=False, frequencies=64)
    assert pairs.spectra is not None
    assert np.allclose(pairs.spectra.mean("frequency"), pairs.F_of_model, atol=1e-6, equal_nan=True)
    assert np.allclose(pairs.F_of_model, pairs.F, atol=0.01, equal_nan=True)


# ---- what must not matter --------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(
    order=st.permutations(range(5)),
    scale=st.lists(st.floats(1e-6, 1e6), min_size=5, max_size=5),
    offset=st.lists(st.floats(-100, 100), min_size=5, max_size=5),
    conditional=st.booleans(),
)
def test_scale_offset_and_order_of_channels_do_not_matter(
    order: list[int], scale: list[float], offset: list[float], conditional: bool
) -> None:
    x = planted(150)
    plain = granger(x, max_order=3, conditional=conditional, frequencies=8)
    factor = np.array(scale)
    changed = granger(
        (x.copy(data=(x.values + np.array(offset)) * factor))[:, order].transpose("region", "time"),
        max_order=3,
        conditional=conditional,
        frequencies=8,
    )
    back = {"target": plain.F.target, "source": plain.F.source}
    assert changed.order == plain.order
    for name in ("F", "p", "q", "low", "high", "spectra"):
        assert np.allclose(
            getattr(changed, name).sel(back), getattr(plain, name), rtol=1e-6, atol=1e-8, equal_nan=True
        ), name
    assert not np.allclose(plain.F, plain.F.T, atol=1e-3, equal_nan=True)


def test_table_and_numbers() -> None:
    found = granger(planted(400), nulls=3)
    table = found.table
    assert list(table.columns) == ["value", "low", "high", "null_mean", "null_sd", "p_value", "note"]
    assert table.index.name == "measure"
    assert len(table) == 20
    assert table.loc["A -> B", "value"] == float(found.F.sel(target="B", source="A"))
    assert (table.low <= table.value).all()
    assert (table.value <= table.high).all()
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["order"] == 2
    assert stored["directions"]["A -> B"]["q_value"] == float(found.q.sel(target="B", source="A"))
    assert stored["directions"]["A -> B"]["null_p"] == 0.25
    assert granger(planted(400)).to_dict()["directions"]["A -> B"]["null_p"] is None


# ---- what cannot be answered -----------------------------------------------------------------------------------------


def changed(change: str) -> xr.DataArray:
    x = planted(200).copy(deep=True)
    v = x.values
    if change == "constant":
        v[:, 1] = 3.0
    elif change == "nan":
        v[7, 2] = np.nan
    elif change == "collinear":
        v[:, 3] = v[:, 0] - 2 * v[:, 1] + 5
    elif change == "global mean":
        v -= v.mean(axis=1, keepdims=True)
    elif change == "sine":
        v[:, 4] = np.sin(0.3 * np.arange(200))
    elif change == "explodes":
        v[:, 4] = 1.05 ** np.arange(200) + v[:, 4]
    elif change == "gap":
        x = x.isel(time=[*range(90), *range(95, 200)])
    elif change == "twice":
        x = x.assign_coords(region=list("ABCDA"))
    return x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("constant", "channel 'B' does not vary"),
        ("nan", "channel 'C' is nan at volume 7"),
        ("collinear", "channel 'D' is a weighted sum of the channels before it"),
        ("global mean", "channel 'E' is a weighted sum"),
        ("sine", "channel 'E' can be predicted without error from 2 volumes before"),
        ("explodes", r"spectral radius 1\.0\d\d, expected below 1"),
        ("gap", "the times step by 0.8 to 4.8 s"),
        ("twice", "channel 'A' is there twice"),
    ],
)
def test_series_without_an_answer_are_refused(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        granger(changed(change))
    granger(changed("nothing"))


def test_a_short_series_is_refused_and_the_largest_possible_order_named() -> None:
    x = planted(40)
    with pytest.raises(
        InputError, match=r"40 volumes of 5 channels, expected at least 66 for order 10; lower the .* to 5"
    ):
        granger(x)
    with pytest.raises(InputError, match=r"expected at least 42 for order 6; lower the .* order to 5"):
        granger(x, order=6)
    assert granger(x, order=5).degrees_of_freedom == (5, 9)
    with pytest.raises(InputError, match="choose fewer channels"):
        granger(x[:10], order=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "aic"}, "order is 'aic'"),
        ({"order": 0}, "order is 0"),
        ({"max_order": 0}, "order is 0"),
        ({"null": "white"}, "null is 'white'"),
        ({"nulls": -1}, "nulls is -1"),
        ({"frequencies": 2.5}, "frequencies is 2.5"),
    ],
)
def test_options_without_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        granger(planted(100), **options)


def test_forms_without_sense_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected an xarray\.DataArray"):
        granger(np.zeros((10, 2)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has 1 channel"):
        granger(planted(100)[:, :1])
    with pytest.raises(InputError, match=r"spectral radius 1\.100"):
        run_autoregression([[[1.1]]], [[1.0]], 10)
    with pytest.raises(InputError, match="mend the shapes"):
        run_autoregression([[1.1]], [[1.0]], 10)
