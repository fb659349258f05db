"""The verdict: what the rows of an evidence table mean, in sentences for a sceptic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from twinbrain.experiment.evidence import SizeLaw

__all__ = ["verdict"]

_ALIKE_FC = 0.05  # FC of some minutes of BOLD is not known better than this
_NOTHING = 2.6  # times volumes ** -1/2: correlation in time that chance gives band-passed series, mean over regions
_HELD = 0.95

Rows = dict[str, dict[str, float]]
Row = dict[str, float]


def verdict(table: pd.DataFrame, law: SizeLaw | None, posterior: dict[str, Any], volumes: int = 300) -> tuple[str, ...]:
    """Say what an evidence table means.

    Parameters
    ----------
    table
        Of an :class:`twinbrain.experiment.evidence.Evidence`.
    law
        Finite-size law of the regions without input, if there is one.
    posterior
        Checks of the fit's bands.
    volumes
        How many were scored: the fewer, the more chance alone correlates.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> verdict.__module__
    'twinbrain.experiment.evidence_words'
    """
    numbers = table.select_dtypes("number").astype(np.float64)
    rows: Rows = {str(name): {str(k): float(v) for k, v in row.items()} for name, row in numbers.iterrows()}
    run = rows["free run"]
    said = [_about_inputs(run)]
    if np.isfinite(run["bold_pcc_noninputs"]):
        said += [_about_copy(rows, run), *_about_ideal(rows, run)]
    said += [*_about_time(rows, _NOTHING / volumes**0.5), *_about_fc(rows, run), *_about_private(rows)]
    if law is not None:
        said.append(
            f"The regions without input follow r(n) = P / sqrt(1 + c / n) with P = {law.p_inf:.3f} "
            f"({law.p_inf_low:.3f} to {law.p_inf_high:.3f}) and c = {law.c:.0f} ({law.c_low:.0f} to {law.c_high:.0f}) "
            "neurons per region: more neurons remove noise, and P is all they can reach."
        )
    if posterior.get("coverage_95") is not None:
        width = posterior["spread_over_error"]
        word = "as wide as" if 0.7 <= width <= 1.4 else "narrower than" if width < 0.7 else "wider than"
        said.append(
            f"The fit's bands are {word} its errors (spread / error {width:.2f}); {posterior['coverage_95']:.0%} of "
            "the observations lie inside the 95 % band. This is in-sample."
        )
    return tuple(said)


def _about_inputs(run: Row) -> str:
    r = run["bold_pcc_inputs"]
    end = "the currents hold without correction" if r >= _HELD else "the currents do not hold without correction"
    return (
        f"The inputs follow the recording with r = {r:.3f} in the free run: {end}. They were fitted to these volumes, "
        "so this says nothing about the rest of the brain."
    )


def _about_copy(rows: Rows, run: Row) -> str:
    copy, lead = rows["copy_inputs"]["bold_pcc_noninputs"], run["over_copy"]
    low, high = run["over_copy_low"], run["over_copy_high"]
    text = (
        f"The other regions reach r = {run['bold_pcc_noninputs']:.3f}; a copy of the inputs' mean reaches {copy:.3f}. "
    )
    if not np.isfinite(low):
        return text + "The recording is too short for an interval of the difference."
    span = f"{lead:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    if low > 0:
        return text + f"The twin is more than a copy ({span})."
    if high < 0:
        return text + f"The twin is worse than a copy ({span}): its neurons add nothing that the inputs did not say."
    return text + f"The twin is no better than a copy ({span})."


def _about_ideal(rows: Rows, run: Row) -> list[str]:
    if "ideal_linear" not in rows:
        return []
    ideal = rows["ideal_linear"]["bold_pcc_noninputs"]
    if not ideal > 0:
        return []
    return [
        f"That is {run['bold_pcc_noninputs'] / ideal:.0%} of what noiseless linear propagation through the same "
        f"connectome reaches ({ideal:.3f}); what is missing is the noise of the network's size."
    ]


def _about_time(rows: Rows, nothing: float) -> list[str]:
    said = []
    for name, words in (("constant_input", "constant"), ("time_shifted_input", "time-shifted")):
        if name in rows:
            r = rows[name]["bold_pcc_noninputs"]
            if not np.isfinite(r):
                r = rows[name]["bold_pcc_inputs"]
            end = "as it must be" if abs(r) < nothing else "which should be near 0: look for a leak"
            said.append(f"With a {words} input the correlation in time is {r:+.3f}, {end}.")
    return said


def _about_fc(rows: Rows, run: Row) -> list[str]:
    said = []
    if "time_shifted_input" in rows:
        null = rows["time_shifted_input"]
        gain = run["fc_pcc"] - null["fc_pcc"]
        if abs(gain) <= _ALIKE_FC or gain < 0:
            said.append(
                "The FC score here carries no information about time, because a time-shifted input gives the same "
                f"({run['fc_pcc']:.3f} against {null['fc_pcc']:.3f}; F-norm {run['fc_fnorm_rms']:.3f} against "
                f"{null['fc_fnorm_rms']:.3f})."
            )
        else:
            said.append(
                f"The FC score is {gain:.3f} above that of a time-shifted input ({null['fc_pcc']:.3f}): the excess, "
                "not the score, speaks of time."
            )
    if "split_half" in rows and np.isfinite(rows["split_half"]["fc_pcc"]):
        said.append(
            f"Two halves of this recording agree at an FC PCC of {rows['split_half']['fc_pcc']:.3f} and "
            f"an F-norm of {rows['split_half']['fc_fnorm_rms']:.3f}: nothing can be asked to do better."
        )
    return said


def _about_private(rows: Rows) -> list[str]:
    if "private variability" not in rows or "recording" not in rows:
        return []
    own, run, data = rows["private variability"], rows["free run"], rows["recording"]["fc_mean"]
    return [
        f"Private slow variability brings the mean FC from {run['fc_mean']:.2f} to {own['fc_mean']:.2f} (recording "
        f"{data:.2f}) and the F-norm from {run['fc_fnorm_rms']:.3f} to {own['fc_fnorm_rms']:.3f}; the correlation in "
        f"time falls from {run['bold_pcc_noninputs']:.3f} to {own['bold_pcc_noninputs']:.3f}, since nobody can know it."
    ]
