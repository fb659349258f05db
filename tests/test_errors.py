"""Suggestions are made only where they help."""

from __future__ import annotations

import pytest

from twinbrain.errors import nearest

ATLAS = [f"ctx-{side}-{k}" for side in ("lh", "rh") for k in range(1, 17)]


@pytest.mark.parametrize(
    ("name", "allowed", "meant"),
    [
        ("CTX-LH-7", ATLAS, "ctx-lh-7"),
        ("ctx_lh-7", ATLAS, "ctx-lh-7"),
        ("Thalamus_l", ["Thalamus_R", "Thalamus_L"], "Thalamus_L"),
        ("Thalamus_1", ["Thalamus_L"], "Thalamus_L"),
        ("Thalmus_L", ["Thalamus_L", "Insula_L"], "Thalamus_L"),
        ("Frontal_Sup2_L", ["Frontal_Mid_2_L", "Frontal_Sup_2_L"], "Frontal_Sup_2_L"),
        ("Frontal_Sup_L", ["Frontal_Mid_2_L", "Frontal_Sup_2_L"], "Frontal_Sup_2_L"),
        ("rnu", ["report", "run"], "run"),
        ("in_degre", ["in_degree"], "in_degree"),
    ],
)
def test_a_slip_is_mended(name: str, allowed: list[str], meant: str) -> None:
    assert nearest(name, allowed) == f"; did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("ctx-lh-17", ATLAS),
        ("ctx-lh17", ATLAS),
        ("ctx-lh-", ATLAS),
        ("ctx-lh-three", ATLAS),
        ("101308", ["101309"]),
        ("region 3", ["region 4"]),
        ("cerebellum", ["Cuneus_L", "Calcarine_L"]),
    ],
)
def test_another_thing_is_not_suggested(name: str, allowed: list[str]) -> None:
    assert nearest(name, allowed) == ""
