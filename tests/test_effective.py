"""Effective connectivity: planted gains are found, the gradient is right, the anatomy's mask and sums are kept."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from twinbrain import Brain, InputError, Subject, load_sample
from twinbrain.assimilate import effective
from twinbrain.assimilate.effective import effective_connectivity
from twinbrain.assimilate.linear import propagate, region_projection

REGIONS = [f"r{k:02d}" for k in range(16)]
INPUTS = REGIONS[:4]
FIVE = [
    f"{a}_{side}" for a in ("Thalamus", "Hippocampus", "Insula", "Cingulate_Ant", "Frontal_Med_Orb") for side in "LR"
]


def planted(seed: int = 3, volumes: int = 1200) -> tuple[Subject, NDArray[np.float64]]:
    """A person whose BOLD follows a connectome that differs from the measured one by large gains, and those gains."""
    random = np.random.default_rng(seed)
    n, m = len(REGIONS), len(INPUTS)
    anatomy = random.lognormal(0.0, 0.7, (n, n)) * (random.random((n, n)) < 0.5)
    np.fill_diagonal(anatomy, 0.0)
    anatomy[m:, :m] += (anatomy[m:, :m].sum(axis=1, keepdims=True) == 0) * 0.5  # every region hears an input
    gains = random.lognormal(0.0, 1.2, (n, n))
    true = anatomy * gains
    true /= true.sum(axis=1, keepdims=True)
    x = np.empty((volumes, n))
    x[:, :m] = random.normal(size=(volumes, m))
    x[:, m:] = x[:, :m] @ propagate(true, 0.8, np.arange(m)).T
    x[:, m:] += 0.1 * x[:, m:].std(axis=0) * random.normal(size=(volumes, n - m))
    person = Subject.from_arrays(anatomy, REGIONS, {"rest": x}, repetition_time_s=0.8)
    share = region_projection(Brain.from_subject(person))
    return person, np.divide(true, share, out=np.zeros_like(true), where=share > 0)


def agreement(fitted: effective.EffectiveConnectivity, gains: NDArray[np.float64]) -> float:
    """Correlation of fitted and true log gains over the edges from inputs: those the data tell most about."""
    rows, columns = slice(len(INPUTS), None), slice(0, len(INPUTS))
    truth, found = gains[rows, columns], fitted.gains.values[rows, columns]
    edges = truth > 0
    return float(np.corrcoef(np.log(truth[edges]), np.log(np.maximum(found[edges], 1e-6)))[0, 1])


def test_planted_gains_are_recovered_and_not_from_shuffled_data() -> None:
    person, gains = planted()
    brain, bold = Brain.from_subject(person), person.bold["rest"]
    fitted = effective_connectivity(brain, bold, INPUTS, band_hz=None, pull=0.01)
    shuffled = bold.copy(data=bold.values.copy())
    random = np.random.default_rng(0)
    for j in range(len(INPUTS), len(REGIONS)):  # same series, another moment: nothing left to learn
        shuffled.values[:, j] = np.roll(shuffled.values[:, j], random.integers(100, 1100))
    control = effective_connectivity(brain, shuffled, INPUTS, band_hz=None, pull=0.01)
    assert agreement(fitted, gains) > 0.8
    assert abs(agreement(control, gains)) < 0.5
    test = fitted.prediction.loc["test"]["pcc_noninputs"]
    assert test["effective"] > 0.98 > test["anatomy"]
    assert abs(control.prediction.loc[("test", "effective"), "pcc_noninputs"]) < 0.15


def test_gradient_equals_finite_differences() -> None:
    random = np.random.default_rng(1)
    n, m = 6, 3
    mask = random.random((n, n + m)) < 0.7
    mask[np.arange(n), np.arange(n)] = False
    start = np.where(mask, random.normal(size=mask.shape), effective._ABSENT)
    theta = np.where(mask, start + random.normal(size=mask.shape), effective._ABSENT)
    y = random.normal(size=(200, m)) @ random.normal(size=(m, n + m)) + random.normal(size=(200, n + m))
    full = np.corrcoef(y.T)
    moments = (full[n:, n:], full[:n, n:], full[:n, :n])
    seen = np.array([True, True, False, True, True, True])
    for fc_weight in (0.0, 2.0):
        settings = (start, mask, [moments], seen, 0.8, 0.3, fc_weight)
        _, gradient = effective._objective(theta, *settings)
        for i, j in np.argwhere(mask)[::5]:
            step = np.zeros_like(theta)
            step[i, j] = 1e-5
            high, low = (
                effective._objective(theta + step, *settings)[0],
                effective._objective(theta - step, *settings)[0],
            )
            assert gradient[i, j] == pytest.approx((high - low) / 2e-5, rel=1e-4, abs=1e-7)
        assert not gradient[~mask].any()


def test_mask_sums_and_rows_of_inputs_are_kept() -> None:
    person, _ = planted()
    brain = Brain.from_subject(person)
    fitted = effective_connectivity(brain, person.bold["rest"], INPUTS, band_hz=None, steps=30)
    before, after = region_projection(brain), region_projection(fitted.brain)
    assert (after[before == 0] == 0).all()
    assert after.sum(axis=1) == pytest.approx(1.0)
    assert (after >= 0).all()
    m = len(INPUTS)
    assert np.array_equal(after[:m], before[:m])
    assert not np.allclose(after[m:], before[m:], atol=0.05)
    gains = fitted.gains.values
    assert after == pytest.approx(before * gains)
    top = fitted.difference.iloc[0]
    change = np.abs(after - before)
    assert abs(top["change"]) == pytest.approx(change.max())
    assert np.abs(np.linalg.eigvals(0.8 * after[m:, m:])).max() < 0.8


def test_a_strong_pull_leaves_the_anatomy_and_the_same_call_gives_the_same() -> None:
    person, _ = planted()
    brain, bold = Brain.from_subject(person), person.bold["rest"]
    held = effective_connectivity(brain, bold, INPUTS, band_hz=None, pull=1e6, anatomy_power=1.0)
    assert held.gains.values[region_projection(brain) > 0] == pytest.approx(1.0, abs=1e-2)
    a, b = (effective_connectivity(brain, bold, INPUTS, band_hz=None, steps=10).gains.values for _ in range(2))
    assert np.array_equal(a, b)


def test_the_test_part_does_not_touch_the_fit() -> None:
    person, _ = planted()
    brain, bold = Brain.from_subject(person), person.bold["rest"]
    other = bold.copy(data=bold.values.copy())
    other.values[600:] = np.random.default_rng(5).normal(size=other.values[600:].shape)
    fits = [effective_connectivity(brain, b, INPUTS, band_hz=None, steps=20) for b in (bold, other)]
    assert fits[0].gains.values == pytest.approx(fits[1].gains.values, rel=1e-6, abs=1e-9)
    early, late = (
        effective_connectivity(brain, b, INPUTS, band_hz=None, steps=20, training=(600, 1200)) for b in (bold, other)
    )
    assert not np.allclose(early.gains.values, late.gains.values, rtol=0.1)


def test_a_region_without_recording_relays() -> None:
    person, _ = planted()
    brain, bold = Brain.from_subject(person), person.bold["rest"]
    fitted = effective_connectivity(brain, bold.sel(region=REGIONS[:-1]), INPUTS, band_hz=None, steps=50)
    assert fitted.explained.sel(region=REGIONS[-1]) == 0
    assert (fitted.explained.sel(region=REGIONS[4:-1]) > 0.5).all()
    assert region_projection(fitted.brain).sum(axis=1) == pytest.approx(1.0)


def test_voxels_get_the_gains_of_their_regions() -> None:
    person = load_sample("101309")
    bold = person.bold["rest"]
    region = effective_connectivity(Brain.from_subject(person), bold, FIVE, steps=5)
    voxel_brain = Brain.from_subject(person, "voxel", 8.0)
    fitted = effective_connectivity(voxel_brain, bold, FIVE, steps=5)
    assert np.asarray(fitted.brain.projection.sum(axis=1)).ravel() == pytest.approx(1.0)
    assert np.array_equal(fitted.brain.projection.indices, voxel_brain.projection.indices)
    weights = region_projection(fitted.brain).ravel(), region_projection(region.brain).ravel()
    plain = region_projection(voxel_brain).ravel()
    assert np.corrcoef(*weights)[0, 1] > 0.9 > np.corrcoef(plain, weights[1])[0, 1]


def test_sample_person_is_predicted_better_than_by_copy_and_anatomy() -> None:
    person = load_sample("101309")
    fitted = effective_connectivity(Brain.from_subject(person), person.bold["rest"], FIVE)
    test = fitted.prediction.loc["test"]
    assert test.loc["effective", "pcc_noninputs"] > test.loc["copy_inputs", "pcc_noninputs"] + 0.02
    assert test.loc["effective", "fc_pcc"] > test.loc["anatomy", "fc_pcc"] + 0.3
    assert fitted.prediction.loc[("training", "effective"), "pcc_noninputs"] > test.loc["effective", "pcc_noninputs"]
    assert repr(fitted).startswith("EffectiveConnectivity(10 inputs, 7812 edges, test PCC of the others 0.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ["r99"]}, "'r99' is no region of this brain"),
        ({"inputs": []}, "inputs: found none"),
        ({"inputs": ["r00", "r00"]}, "'r00' is listed twice"),
        ({"inputs": REGIONS}, "every region is one"),
        ({"loop_gain": 1.0}, "loop_gain: found 1, expected above 0 and below 1"),
        ({"pull": -1.0}, "pull: found -1"),
        ({"steps": 0}, "steps: found 0"),
        ({"training": (0, 50)}, "training: found volumes 0 to 50 of 1200"),
        ({"training": (700, 1300)}, "inside the recording"),
        ({"prior": xr.DataArray(np.ones(2), dims="target")}, "prior: found"),
    ],
)
def test_bad_settings_are_refused_in_words(changes: dict[str, object], message: str) -> None:
    person, _ = planted()
    options = {"inputs": INPUTS, "band_hz": None} | changes
    inputs = options.pop("inputs")
    with pytest.raises(InputError, match=message):
        effective_connectivity(Brain.from_subject(person), person.bold["rest"], inputs, **options)  # type: ignore[arg-type]


def test_an_input_without_recording_is_refused() -> None:
    person, _ = planted()
    bold = person.bold["rest"].sel(region=REGIONS[1:])
    with pytest.raises(InputError, match="input 'r00' has no recording"):
        effective_connectivity(Brain.from_subject(person), bold, INPUTS, band_hz=None)


def test_people_who_did_not_choose_the_settings_confirm_them() -> None:
    """Linear prediction of the half not used for fitting, mean over two of the four confirming people."""
    reached = []
    for name in ("211619", "377451"):
        person = load_sample(name)
        test = effective_connectivity(Brain.from_subject(person), person.bold["rest"], FIVE).prediction.loc["test"]
        reached.append(test)
    mean = sum(reached[1:], reached[0]) / len(reached)
    assert mean.loc["effective", "pcc_noninputs"] > mean.loc["copy_inputs", "pcc_noninputs"] + 0.05
    assert mean.loc["effective", "fc_pcc"] > 0.45 > mean.loc["anatomy", "fc_pcc"] + 0.1
