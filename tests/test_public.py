"""The public surface, end to end on a small person: build, fit, free run, compare, save, report, load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import twinbrain as tb


@pytest.fixture(scope="module")
def person() -> tb.Subject:
    rng = np.random.Generator(np.random.Philox(key=8))
    n, t = 6, 240
    slow = np.cumsum(rng.standard_normal((t, 2)), axis=0)
    mix = slow @ rng.uniform(0.2, 1, (2, n)) + rng.standard_normal((t, n))
    connectome = rng.gamma(1.0, 1.0, (n, n))
    np.fill_diagonal(connectome, 0)
    names = [f"Area_{k}" for k in range(n - 1)] + ["Thalamus_L"]
    return tb.Subject.from_arrays(
        connectome, names, bold={"rest": mix}, repetition_time_s=0.72, positions=rng.uniform(-40, 40, (n, 3))
    )


def test_the_example_of_the_design_runs(person: tb.Subject, tmp_path: Path) -> None:
    brain = tb.Brain.from_subject(person, level="region")
    network = tb.Network(brain, neurons=1200, in_degree=100, seed=1)
    assert "GB" in str(network.estimate(duration_s=60))
    fit = tb.assimilate(network, person.bold["rest"], inputs=["Thalamus_L"], members=6, volumes=60, threads=2)
    twin = tb.simulate(network.scaled(neurons=6000), drive=fit.drive, warm_up_s=3.6, threads=2)
    score = tb.compare(twin.bold, person.bold["rest"], inputs=fit.inputs, connectome=person.connectome, bootstrap=100)
    tb.save(tmp_path / "out", fit=fit, twin=twin, score=score)
    page = tb.report(tmp_path / "out")
    assert page.exists()
    again = tb.load(tmp_path / "out")
    np.testing.assert_array_equal(again.groups["fit"]["drive"], fit.drive.values)
    assert again.scores["bold_pcc_inputs"] == pytest.approx(score.to_dict()["bold_pcc_inputs"])
    assert again.groups["twin"].attrs["neurons"] == 6000


def test_public_verbs_are_not_hidden_by_rooms_of_their_name() -> None:
    import twinbrain.analyse.similarity
    import twinbrain.assimilate.fit
    import twinbrain.report.page
    import twinbrain.simulate  # noqa: F401

    assert callable(tb.simulate)
    assert callable(tb.assimilate)
    assert callable(tb.report)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        tb.simulat  # noqa: B018
    assert set(tb.__all__) <= set(dir(tb))
