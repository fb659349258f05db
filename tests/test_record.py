"""What a run keeps is right, costs no spike, and survives interruptions."""

from __future__ import annotations

import numpy as np
import pytest

from twinbrain.brain import Brain
from twinbrain.data.subject import Subject
from twinbrain.drive import Drive
from twinbrain.errors import CorruptFile, InputError, Interrupted
from twinbrain.network import Network
from twinbrain.record import Record
from twinbrain.simulate import simulate
from twinbrain.store import Checkpoint, Due, read_spikes


@pytest.fixture(scope="module")
def network():
    person = Subject.from_arrays([[0, 1, 2.0], [1, 0, 1], [2, 1, 0]], ["a", "b", "c"])
    return Network(
        Brain.from_subject(person), neurons=1500, in_degree=40, circuit="canonical", parameters="open", seed=3
    )


FULL = Record(spikes="all", voltages=[0, 700, 1499], currents=[5, 1400], rate_bin_ms=5.0, voxel_means_every_ms=10.0)


@pytest.fixture(scope="module")
def full(network):
    return simulate(network, 0.6, repetition_time_s=0.2, record=FULL, members=2)


def test_recording_changes_no_spike(network, full):
    bare = simulate(network, 0.6, repetition_time_s=0.2, record=Record(), members=2)
    assert np.array_equal(bare.firing_rate.values, full.firing_rate.values)
    assert all(np.array_equal(bare.state[k], full.state[k], equal_nan=True) for k in bare.state)
    assert (bare.spikes, bare.traces, bare.binned_rate, bare.voxel_means) == (None, None, None, None)
    other = simulate(network, 0.6, repetition_time_s=0.2, record=Record(), members=2, seed=1)
    assert not np.array_equal(other.firing_rate.values, full.firing_rate.values)


def test_bins_hold_the_spikes_of_their_time(network, full):
    bins = full.binned_rate
    assert dict(bins.sizes) == {"member": 2, "bin": 120, "population": 6}
    assert bins.attrs["units"] == "Hz"
    first = np.append(network.populations["first"], network.neurons)
    for member in (0, 1):
        chosen = full.spikes["member"].values == member
        counts, _, _ = np.histogram2d(
            full.spikes["step"].values[chosen], full.spikes["neuron"].values[chosen], bins=[np.arange(0, 601, 5), first]
        )
        rate = counts / network.populations["size"].to_numpy() / 0.005
        np.testing.assert_allclose(bins.sel(member=member).values, rate, rtol=1e-12)
        assert np.abs(bins.sel(member=1 - member).values - rate).max() > 1
    mean = bins.values.reshape(2, 3, 40, 6).mean(axis=2)
    np.testing.assert_allclose(mean, full.firing_rate.values, rtol=1e-12)


def test_bins_that_cross_a_sample_and_one_that_is_not_full(network, full):
    crossing = simulate(network, 0.6, repetition_time_s=0.2, record=Record(rate_bin_ms=7.0))
    assert crossing.binned_rate.sizes["bin"] == 85
    assert crossing.binned_rate["bin"].values[[0, -1]].tolist() == [7.0, 595.0]
    fine = full.binned_rate.sel(member=0).values
    coarse = simulate(network, 0.6, repetition_time_s=0.2, record=Record(rate_bin_ms=35.0)).binned_rate[0].values
    np.testing.assert_allclose(coarse, fine[:119].reshape(17, 7, 6).mean(axis=1), rtol=1e-12)


def test_currents_and_potential_obey_the_equation(network, full):
    """dV follows from the currents of the step before, wherever no spike, arrival or refractoriness intervenes."""
    only = Record(voltages=[5, 1400], currents=[5, 1400])
    run = simulate(network, 0.6, repetition_time_s=0.2, record=only)
    v = run.traces["potential"].sel(member=0).values.astype(float)
    currents = {k: run.traces[k].sel(member=0).values.astype(float) for k in run.traces if k.startswith("current_")}
    assert set(currents) == {"current_background", "current_ampa", "current_gaba_a"}
    p = network.set.neuron
    # V(t+1) = V(t) + dt/C (-g_L (V - V_L) + sum of currents), with noise and conductances of t + 1
    j = {k: currents[f"current_{k}"] / (getattr(p, f"v_{k}_mv") - v) for k in ("ampa", "gaba_a")}
    decay = {k: np.exp(-1 / getattr(p, f"tau_{k}_ms")) for k in j}
    predicted = np.full_like(v, np.nan)
    step = -p.leak_conductance * (v[:-1] - p.leak_potential_mv) + currents["current_background"][1:]
    for k, g in j.items():
        step = step + g[1:] / decay[k] * (getattr(p, f"v_{k}_mv") - v[:-1])
    predicted[1:] = v[:-1] + step / p.capacitance
    free = (np.abs(v - p.reset_mv) > 1e-3) & (np.roll(np.abs(v - p.reset_mv), 1, axis=0) > 1e-3)
    error = np.abs(predicted - v)[free & np.isfinite(predicted)]
    assert np.median(error) < 1e-4
    assert free.sum() > 200
    wrong = np.abs(predicted + step.mean() - v)[free & np.isfinite(predicted)]
    assert np.median(wrong) > 1e-3
    same = full.traces["current_ampa"].sel(member=0).values
    assert np.array_equal(same, run.traces["current_ampa"].sel(member=0).values)


def test_voxel_means_are_means(network):
    neurons = np.arange(network.neurons)
    record = Record(voltages=neurons, currents=neurons, voxel_means_every_ms=50.0)
    run = simulate(network, 0.2, repetition_time_s=0.2, record=record)
    means = run.voxel_means.sel(member=0)
    assert means["instant"].values.tolist() == [50.0, 100.0, 150.0, 200.0]
    assert means["potential_e"].attrs["units"] == "mV"
    table = network.populations
    for step, instant in ((49, 50.0), (199, 200.0)):
        for voxel in range(3):
            row = table[(table["voxel"] == voxel) & (table["sign"] > 0)].iloc[0]
            who = slice(int(row["first"]), int(row["first"] + row["size"]))
            at = means.sel(instant=instant).isel(voxel=voxel)
            traces = run.traces.sel(member=0).isel(step=step)
            assert float(at["potential_e"]) == pytest.approx(float(traces["potential"].values[who].mean()), rel=1e-5)
            assert float(at["excitation_e"]) == pytest.approx(
                float(traces["current_ampa"].values[who].mean()), rel=1e-4
            )
            assert float(at["inhibition_e"]) == pytest.approx(
                float(traces["current_gaba_a"].values[who].mean()), rel=1e-4
            )
            both = slice(int(row["first"]), int(row["first"] + row["size"]) + 50)
            assert float(at["potential_e"]) != pytest.approx(float(traces["potential"].values[both].mean()), rel=1e-6)


def test_streamed_spikes_are_those_kept_in_memory(network, full, tmp_path):
    record = Record(spikes="all", spikes_folder=tmp_path / "s")
    run = simulate(network, 0.6, repetition_time_s=0.2, record=record, members=2)
    assert run.spikes is None
    found = read_spikes(tmp_path / "s")
    assert found.equals(full.spikes)
    assert len(found["spike"]) > 1000
    assert len(list((tmp_path / "s").iterdir())) == 3
    window = Record(spikes=[1, 2, 800], spikes_from_s=0.25, spikes_folder=tmp_path / "w")
    simulate(network, 0.6, repetition_time_s=0.2, record=window, members=2)
    part = read_spikes(tmp_path / "w")
    kept = np.isin(full.spikes["neuron"], [1, 2, 800]) & (full.spikes["step"].values >= 250)
    assert part.equals(full.spikes.isel(spike=np.flatnonzero(kept)))


@pytest.mark.parametrize("stop", [1, 2])
def test_an_interrupted_run_resumes_with_every_recording(network, full, tmp_path, stop):
    record = Record(
        spikes="all", spikes_folder=tmp_path / "s", voltages=[0, 700, 1499], currents=[5, 1400], rate_bin_ms=7.0,
        voxel_means_every_ms=10.0,
    )  # fmt: skip
    whole = simulate(
        network, 0.6, repetition_time_s=0.2, record=Record(**{**vars(record), "spikes_folder": tmp_path / "whole"})
    )

    def run(place, stop=0):
        def progress(done, total):
            if done == stop:
                raise Interrupted("stop")

        return simulate(
            network, 0.6, repetition_time_s=0.2, record=record, progress=progress, checkpoint=Checkpoint(place, "run")
        )

    with pytest.raises(Interrupted):
        run(tmp_path / "c", stop)
    # a process killed later would have left a file that no checkpoint knows
    stray = sorted((tmp_path / "s").iterdir())[0]
    (tmp_path / "s" / stray.name.replace("000000", f"{stop:06d}")).write_bytes(stray.read_bytes())
    again = run(tmp_path / "c")
    for name in ("firing_rate", "bold", "binned_rate", "voxel_means", "traces", "totals"):
        assert getattr(again, name).equals(getattr(whole, name)), name
    assert read_spikes(tmp_path / "s").equals(read_spikes(tmp_path / "whole"))
    assert not again.traces.equals(full.traces.isel(member=[1]))


def test_spikes_of_another_run_are_not_overwritten(network, tmp_path):
    record = Record(spikes="all", spikes_folder=tmp_path)
    simulate(network, 0.2, repetition_time_s=0.2, record=record)
    with pytest.raises(InputError, match=r"holds the spikes of an earlier run, expected an empty folder; choose "):
        simulate(network, 0.2, repetition_time_s=0.2, record=record)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"found 'notes.txt' where spikes are to be written, expected an empty folder"):
        simulate(network, 0.2, repetition_time_s=0.2, record=record)


def test_damaged_spikes_are_named(network, tmp_path):
    simulate(network, 0.6, repetition_time_s=0.2, record=Record(spikes="all", spikes_folder=tmp_path))
    random = np.random.default_rng(0)
    files = sorted(tmp_path.iterdir())
    for path in files:
        content = path.read_bytes()
        for _ in range(20):
            place = int(random.integers(len(content)))
            path.write_bytes(
                content[:place] + bytes([content[place] ^ 1 << int(random.integers(8))]) + content[place + 1 :]
            )
            with pytest.raises(CorruptFile, match=path.name):
                read_spikes(tmp_path)
        path.write_bytes(content)
    assert len(read_spikes(tmp_path)["spike"]) > 0
    files[1].unlink()
    with pytest.raises(CorruptFile, match="stretch 1 of the spikes is missing"):
        read_spikes(tmp_path)


def test_a_full_disk_is_said(network, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\)"):
        simulate(
            network, 0.2, repetition_time_s=0.2, record=Record(spikes="all", spikes_folder=tmp_path / "file" / "s")
        )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"spikes": "some"}, "Record.spikes must be 'none', 'all' or a list of neuron ids, found 'some'"),
        ({"spikes_folder": "x"}, "Record.spikes_folder is given but Record.spikes is 'none'"),
        ({"rate_bin_ms": 0.0}, "Record.rate_bin_ms must be a positive number of ms, found 0.0"),
        (
            {"rate_bin_ms": 2.5},
            r"Record.rate_bin_ms \(2.5 ms\) must be a whole number of exchange intervals \(1.0 ms\)",
        ),
        ({"voxel_means_every_ms": 0.3}, "Record.voxel_means_every_ms"),
        ({"currents": [1500]}, r"Record.currents names neurons outside 0 ... 1499"),
        ({"voltages": [-1]}, r"Record.voltages names neurons outside 0 ... 1499"),
    ],
)
def test_impossible_wishes(network, record, message):
    with pytest.raises(InputError, match=message):
        simulate(network, 0.2, repetition_time_s=0.2, record=Record(**record))


def test_a_drive_and_recordings_go_together(network):
    drive = Drive.constant({"a": 0.1}, duration_s=0.6, repetition_time_s=0.2)
    with_bins = simulate(network, drive=drive, record=Record(rate_bin_ms=20.0))
    without = simulate(network, drive=drive)
    assert np.array_equal(with_bins.bold.values, without.bold.values)


def test_a_run_is_saved_and_stopped_in_the_middle_of_a_sample(network, tmp_path, monkeypatch):
    """Looked at after every piece: saved there, stopped there, and resumed to the same bits, warm-up included."""
    monkeypatch.setattr("twinbrain.record._PIECE_S", 0.0)
    record = Record(
        spikes=range(0, 1500, 7), voltages=[3], currents=[8], rate_bin_ms=30.0, voxel_means_every_ms=70.0
    )  # fmt: skip
    options = {"repetition_time_s": 0.2, "warm_up_s": 0.05, "record": record}
    whole = simulate(network, 0.4, **options)

    def stopped_at(look, name="at"):
        count = 0

        def progress(done, total):
            nonlocal count
            count += 1
            if count == look:
                raise Interrupted("stop")

        place = tmp_path / f"{name}{look}"
        with pytest.raises(Interrupted):
            simulate(network, 0.4, progress=progress, checkpoint=Checkpoint(place, "run"), **options)
        return Checkpoint(place, "run")

    for look in (1, 30, 160, 300):
        checkpoint = stopped_at(look)
        again = simulate(network, 0.4, checkpoint=checkpoint, checkpoint_every_s=1e6, **options)
        for name in ("firing_rate", "bold", "binned_rate", "voxel_means", "traces", "totals", "spikes"):
            assert getattr(again, name).equals(getattr(whole, name)), (look, name)
        for name, array in whole.state.items():
            np.testing.assert_array_equal(again.state[name], array)
    saved = stopped_at(160, "control").load()
    saved["seen"] = saved["seen"] + 1  # the control: what was counted before the stop matters
    broken = Checkpoint(tmp_path / "broken", "run")
    broken.save(saved)
    assert not simulate(network, 0.4, checkpoint=broken, **options).binned_rate.equals(whole.binned_rate)


def test_the_wall_clock_says_when_a_checkpoint_is_due():
    ticks = iter([0.0, 299.0, 300.0, 301.0, 599.9, 600.0])
    due = Due(300.0, clock=lambda: next(ticks))
    assert [due() for _ in range(5)] == [False, True, False, False, True]
    assert Due(0.0)()
    with pytest.raises(InputError, match="checkpoint_every_s is -1, expected a number of seconds of at least 0"):
        Due(-1)
