"""A Subject is checked once, at the door, and a position is never trusted where a name is known."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from twinbrain.data.prepare import band_pass, detrend, percent_signal_change, regress_global_signal, z_score
from twinbrain.data.subject import Subject, is_laminar
from twinbrain.errors import InputError

REGIONS = ["Insula_L", "Insula_R", "Thalamus_L"]
SC = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 4.0], [5.0, 6.0, 0.0]])


def series(volumes: int = 40, regions: int = 3, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(volumes, regions))


def person(**changes: Any) -> Subject:
    given_: dict[str, Any] = {
        "connectome": SC,
        "regions": REGIONS,
        "bold": {"rest": series()},
        "repetition_time_s": 0.72,
        "name": "toy",
    }
    return Subject.from_arrays(**(given_ | changes))


def test_what_was_given_is_what_is_held() -> None:
    toy = person(grey_matter=[1.0, 2.0, 3.0], lengths=SC * 10, positions=np.arange(9.0).reshape(3, 3), bold_units="%")
    assert toy.regions == tuple(REGIONS)
    assert toy.connectome.dims == ("target", "source")
    assert float(toy.connectome.sel(target="Insula_R", source="Thalamus_L")) == 4.0
    assert float(toy.connectome.sel(target="Thalamus_L", source="Insula_R")) == 6.0  # control: not the other way
    assert toy.bold["rest"].attrs == {"units": "%", "repetition_time_s": 0.72}
    np.testing.assert_allclose(toy.bold["rest"].time.values[:3], [0.0, 0.72, 1.44])
    assert toy.bold["rest"].time.attrs["units"] == "s"
    assert toy.lengths is not None
    assert toy.lengths.attrs["units"] == "mm"
    assert toy.positions is not None
    assert list(toy.positions.axis.values) == ["x", "y", "z"]
    assert toy.grey_matter.attrs["units"] == "mm3"
    assert person().grey_matter.attrs["units"] == "1"
    assert toy.repetition_time_s == 0.72
    assert list(toy.table.columns) == ["grey_matter", "laminar", "x", "y", "z"]


def test_the_default_for_laminar_follows_names_and_can_be_set() -> None:
    assert person().laminar.values.tolist() == [True, True, False]
    assert person(laminar=[False, True, True]).laminar.values.tolist() == [False, True, True]
    assert [is_laminar(n) for n in ("ParaHippocampal_L", "Olfactory_R", "thalamus_L", "Heschl_L")] == [
        False,
        False,
        True,
        True,
    ]


def test_the_arrays_cannot_be_written_to_and_are_copies() -> None:
    mine = SC.copy()
    toy = person(connectome=mine)
    mine[0, 1] = 99.0
    assert float(toy.connectome[0, 1]) == 1.0
    with pytest.raises(ValueError, match="read-only"):
        toy.connectome.values[0, 1] = 99.0
    with pytest.raises(ValueError, match="read-only"):
        toy.bold["rest"].values[0, 0] = 1.0
    with pytest.raises(TypeError):
        toy.bold["task"] = toy.bold["rest"]  # type: ignore[index]


def test_a_subject_can_be_sent_to_another_process() -> None:
    toy = person(provenance={"a.csv": "00"})
    twin = pickle.loads(pickle.dumps(toy))  # noqa: S301 - our own bytes
    assert twin.regions == toy.regions
    assert dict(twin.provenance) == {"a.csv": "00"}
    np.testing.assert_array_equal(twin.bold["rest"].values, toy.bold["rest"].values)


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(3)))
def test_labelled_input_is_put_in_order_by_name(order: list[int]) -> None:
    names = [REGIONS[k] for k in order]
    x = series()
    shuffled = person(
        connectome=pd.DataFrame(SC[np.ix_(order, order)], index=names, columns=names),
        bold={"rest": pd.DataFrame(x[:, order], columns=names)},
        grey_matter=pd.Series(np.array([1.0, 2.0, 3.0])[order], index=names),
        synaptic_density=dict(zip(names, np.array([1.0, 2.0, 3.0])[order], strict=True)),
        positions=pd.DataFrame(np.arange(9.0).reshape(3, 3)[order][:, [2, 0, 1]], index=names, columns=["z", "x", "y"]),
    )
    plain = person(
        bold={"rest": x},
        grey_matter=[1.0, 2.0, 3.0],
        synaptic_density=[1.0, 2.0, 3.0],
        positions=np.arange(9.0).reshape(3, 3),
    )
    xr.testing.assert_identical(shuffled.connectome, plain.connectome)
    xr.testing.assert_identical(shuffled.bold["rest"], plain.bold["rest"])
    pd.testing.assert_frame_equal(shuffled.table, plain.table)


def test_without_labels_a_shuffle_is_a_different_person() -> None:
    order = [1, 0, 2]
    assert not np.array_equal(person(connectome=SC[np.ix_(order, order)]).connectome.values, SC)


def test_a_labelled_connectome_is_oriented_by_its_dimensions() -> None:
    coords = {"target": REGIONS, "source": REGIONS}
    right = xr.DataArray(SC, dims=("target", "source"), coords=coords)
    np.testing.assert_array_equal(person(connectome=right).connectome.values, SC)
    np.testing.assert_array_equal(person(connectome=right.transpose()).connectome.values, SC)
    turned = xr.DataArray(SC, dims=("source", "target"), coords=coords)
    np.testing.assert_array_equal(person(connectome=turned).connectome.values, SC.T)
    with pytest.raises(
        InputError, match=r"dimensions \('from', 'to'\) were found, \('target', 'source'\) were expected"
    ):
        person(connectome=xr.DataArray(SC, dims=("from", "to")))


def test_regions_may_come_from_the_connectome() -> None:
    frame = pd.DataFrame(SC, index=REGIONS, columns=REGIONS)
    assert Subject.from_arrays(frame).regions == tuple(REGIONS)
    with pytest.raises(InputError, match="it carries no region names; give regions="):
        Subject.from_arrays(SC)


def test_a_diagonal_is_set_to_zero_and_noted() -> None:
    with pytest.warns(UserWarning, match=r"first 'Insula_R' \(7\), and was set to zero"):
        toy = person(connectome=SC + np.diag([0.0, 7.0, 0.0]))
    np.testing.assert_array_equal(toy.connectome.values, SC)
    assert "set to zero" in toy.provenance["connectome diagonal"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "connectome diagonal" not in person().provenance


def changed(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    result = array.copy()
    result[place] = value
    return result


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions": ["a", "a", "b"]}, "region 'a' is named twice"),
        ({"regions": ["a", "", "b"]}, "region 2 of the region names is ''"),
        ({"regions": "abc"}, "regions must be a list of names"),
        ({"regions": ["a", "b"]}, "the matrix is 3 x 3, but there are 2 region names"),
        ({"connectome": SC[:2]}, "the matrix is 2 x 3, but it must be square"),
        ({"connectome": [["x", "y"], ["z", "w"]]}, "a value that is not a number was found"),
        ({"connectome": changed(SC, (0, 2), -1.0)}, "-1 was found at target 'Insula_L', source 'Thalamus_L'"),
        ({"connectome": changed(SC, (1, 2), np.nan)}, "nan at row 'Insula_R', column 'Thalamus_L' was found"),
        ({"connectome": np.zeros((3, 3))}, "every entry off the diagonal is zero"),
        (
            {"connectome": pd.DataFrame(SC, index=["Insula_L", "Insula_r", "Thalamus_L"], columns=REGIONS)},
            "'Insula_r' is not one of the 3 regions; did you mean 'Insula_R'",
        ),
        ({"bold": series()}, "one array was found, but runs need names"),
        ({"bold": {"rest": series().T}}, "the array looks transposed"),
        ({"bold": {"rest": series(19)}}, "19 volumes were found, but at least 20 are needed"),
        (
            {"bold": {"rest": changed(series(), (7, 1), np.inf)}},
            "bold 'rest': inf at row '7', column 'Insula_R'",
        ),
        (
            {"bold": {"a": series(), "b": np.c_[series()[:, :2], np.ones(40)]}},
            "bold 'b': region 'Thalamus_L' is constant",
        ),
        (
            {"bold": {"rest": pd.DataFrame(series(), columns=["Insula_L", "Insula_R", "Thalamus_R"])}},
            "'Thalamus_R' is not one of the 3 regions; did you mean 'Thalamus_L'",
        ),
        (
            {"bold": {"rest": pd.DataFrame(series()[:, :2], columns=REGIONS[:2])}},
            r"region 'Thalamus_L' is missing \(2 of 3 regions were found\)",
        ),
        ({"repetition_time_s": None}, "the repetition time is missing; give repetition_time_s"),
        ({"repetition_time_s": 0.0}, "repetition_time_s is 0.0, but it must be a positive number of seconds"),
        ({"repetition_time_s": "fast"}, "repetition_time_s is 'fast'"),
        ({"repetition_time_s": 720}, "looks like milliseconds; give seconds, for example 0.72"),
        ({"grey_matter": [1.0, 0.0, 2.0]}, "grey_matter: 0 was found for region 'Insula_R'"),
        ({"grey_matter": [1.0, 2.0]}, "2 values were found for 3 regions"),
        ({"synaptic_density": [1.0, 1.0, np.nan]}, "synaptic_density: nan was found for region 'Thalamus_L'"),
        (
            {"lengths": changed(SC, (0, 1), -3.0)},
            "lengths: -3 was found at target 'Insula_L', source 'Insula_R'",
        ),
        ({"positions": np.zeros((3, 2))}, "columns or rows were found along 'axis', 3 were expected"),
        ({"positions": np.full((3, 3), np.nan)}, "coordinates must be finite"),
        ({"laminar": [0.0, 1.0, 2.0]}, "laminar: 2 was found for region 'Thalamus_L'"),
    ],
)
def test_bad_input_gets_one_clear_sentence(changes: dict[str, Any], message: str) -> None:
    person()  # control: the same call without the fault is fine
    with pytest.raises(InputError, match=message) as caught:
        person(**changes)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text


def test_a_repetition_time_may_come_with_the_series_but_not_contradict() -> None:
    x = xr.DataArray(series(), dims=("time", "region"), attrs={"repetition_time_s": 2.0, "units": "%"})
    assert person(bold={"rest": x}, repetition_time_s=None).repetition_time_s == 2.0
    with pytest.raises(InputError, match=r"the array says its repetition time is 2 s, but repetition_time_s=0.72"):
        person(bold={"rest": x})


def test_without_bold_there_is_no_repetition_time() -> None:
    with pytest.raises(InputError, match="has no BOLD, so it has no repetition time"):
        _ = person(bold=None).repetition_time_s


def test_it_shows_itself_and_escapes_names() -> None:
    assert repr(person()) == "Subject 'toy': 3 regions (2 laminar), connectome density 1.00, BOLD rest 40 x 0.72 s"
    page = person(name="<b>")._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


# --- preparing series -------------------------------------------------------------------------------


def labelled() -> xr.DataArray:
    return person(bold={"rest": 100.0 + series(400)}).bold["rest"]


@pytest.mark.parametrize("step", [percent_signal_change, detrend, z_score, band_pass, regress_global_signal])
def test_preparing_keeps_labels_and_leaves_the_input_alone(step: Any) -> None:
    x = labelled()
    before = x.values.copy()
    y = step(x)
    np.testing.assert_array_equal(x.values, before)
    assert y.dims == x.dims
    assert y.attrs["repetition_time_s"] == 0.72
    xr.testing.assert_equal(y.region, x.region)
    xr.testing.assert_equal(y.time, x.time)
    assert not np.allclose(y.values, x.values)
    np.testing.assert_allclose(step(x.transpose("region", "time")).values.T, y.values)


def test_preparing_does_what_the_equations_say() -> None:
    x = labelled()
    np.testing.assert_allclose(percent_signal_change(x), 100 * (x / x.mean("time") - 1))
    assert percent_signal_change(x).attrs["units"] == "%"
    z = z_score(x)
    np.testing.assert_allclose(z.mean("time"), 0, atol=1e-12)
    np.testing.assert_allclose(z.std("time"), 1)
    ramp = x + 3.0 * x.time
    np.testing.assert_allclose(detrend(ramp), detrend(x), atol=1e-9)
    assert not np.allclose(detrend(ramp, 0), detrend(x, 0), atol=1.0)
    # By construction no region is correlated with the global signal afterwards, and every one was before.
    glob = (x - x.mean("time")).mean("region").values
    clean = regress_global_signal(x)
    np.testing.assert_allclose(glob @ (clean - clean.mean("time")).values, 0, atol=1e-9)
    assert np.abs(glob @ (x - x.mean("time")).values).min() > 1.0


def test_the_band_passes_and_the_rest_does_not() -> None:
    t = np.arange(1200) * 0.72
    waves = {hz: np.sin(2 * np.pi * hz * t) for hz in (0.002, 0.04, 0.3)}
    kept = {}
    for hz, wave in waves.items():
        x = xr.DataArray(wave, dims="time", attrs={"repetition_time_s": 0.72})
        kept[hz] = float(band_pass(x)[200:-200].std() / wave[200:-200].std())
    assert kept[0.04] > 0.95
    assert kept[0.002] < 0.05
    assert kept[0.3] < 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: percent_signal_change(x - 100.0 - x.mean("time")),
            "region 'Insula_L' has a mean that is not above 0",
        ),
        (lambda x: z_score(x * 0.0 + 1.0), "region 'Insula_L' is constant"),
        (lambda x: band_pass(x, 0.1, 0.01), "the band 0.1 to 0.01 Hz is not possible"),
        (lambda x: band_pass(x, 0.01, 0.9), "at a repetition time of 0.72 s"),
        (lambda x: band_pass(x.drop_attrs()), "does not carry its repetition time"),
        (lambda x: band_pass(x[:15]), "the series has 15 volumes, but this filter needs more than 15"),
        (lambda x: detrend(x, -1), "order is -1"),
        (lambda x: detrend(x.rename(time="t")), "one named 'time' is needed"),
        (lambda x: detrend(x.where((x.time > 1) | (x.region != "Insula_R"))), "not finite, and not in whole volumes"),
        (lambda x: regress_global_signal(x[:, 0]), "the global signal needs"),
    ],
)
def test_preparing_refuses_what_it_cannot_do(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(labelled())
