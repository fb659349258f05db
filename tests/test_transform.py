"""The transform keeps parameters inside their bounds and can be undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinbrain.assimilate.transform import SATURATION, check_bounds, to_bounded, to_unbounded
from twinbrain.errors import InputError


@pytest.mark.parametrize("bounds", [(0.0, 0.12), (0.01, 0.3), (-0.06, 0.3), (5.0, 1000.0)])
def test_round_trip_is_exact_to_a_millionth_right_up_to_the_bounds(bounds: tuple[float, float]) -> None:
    lower, upper = bounds
    edge = np.geomspace(1e-6, (upper - lower) / 2, 500)[:-1]
    h = np.concatenate([lower + edge, upper - edge])
    h = h[(h > lower) & (h < upper)]
    np.testing.assert_allclose(to_bounded(to_unbounded(h, bounds), bounds), h, rtol=1e-6, atol=0)
    other = (lower, upper + 0.1 * (upper - lower))
    assert not np.allclose(to_bounded(to_unbounded(h, bounds), other), h, rtol=1e-6, atol=0)


def test_the_formula_is_the_published_one() -> None:
    assert to_unbounded(0.09, (0.0, 0.12)) == pytest.approx(10 * np.log(3.0), rel=1e-14)
    assert to_unbounded(0.06, (0.0, 0.12)) == pytest.approx(0.0, abs=1e-12)
    assert to_unbounded(0.09, (0.0, 0.12)) != pytest.approx(np.log(3.0), rel=1e-3)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_number_leaves_the_bounds(x: float) -> None:
    assert 0.01 <= to_bounded(x, (0.01, 0.3)) <= 0.3
    kept = float(to_bounded(np.clip(x, -SATURATION, SATURATION), (0.01, 0.3)))
    assert 0.01 < kept < 0.3
    assert abs(float(to_unbounded(kept, (0.01, 0.3)))) <= SATURATION * (1 + 1e-9)


@pytest.mark.parametrize("value", [0.0, 0.12, -1.0, 0.5, np.nan, np.inf])
def test_a_value_at_or_outside_a_bound_is_a_clear_error(value: float) -> None:
    with pytest.raises(InputError, match=r"found .* \(1 of 2 values\), expected all strictly between 0 and 0.12"):
        to_unbounded([0.05, value], (0.0, 0.12))
    assert np.isfinite(to_unbounded([0.05, 1e-9], (0.0, 0.12))).all()


@pytest.mark.parametrize("bounds", [(0.1, 0.1), (0.2, 0.1), (0.0, np.inf), (np.nan, 1.0)])
def test_bounds_that_enclose_nothing_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="expected two finite numbers, the lower one first"):
        check_bounds(bounds)
    assert check_bounds((0, 1)) == (0.0, 1.0)
