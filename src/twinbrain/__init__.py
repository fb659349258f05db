"""twinbrain: one person's scans as a spiking whole-brain model, fitted to that person's BOLD.

This file is the public catalogue and nothing else; every name is imported when it is first used,
so that ``import twinbrain`` stays fast.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from twinbrain.analyse.analysis import Analysis as Analysis
    from twinbrain.analyse.analysis import analyse as analyse
    from twinbrain.analyse.causality import Granger as Granger
    from twinbrain.analyse.causality import granger as granger
    from twinbrain.analyse.connectivity import BetweenSubjects as BetweenSubjects
    from twinbrain.analyse.connectivity import between_subject_ceiling as between_subject_ceiling
    from twinbrain.analyse.connectivity import compare_edges as compare_edges
    from twinbrain.analyse.connectivity import compare_nodes as compare_nodes
    from twinbrain.analyse.connectivity import functional_connectivity as functional_connectivity
    from twinbrain.analyse.connectivity import partial_connectivity as partial_connectivity
    from twinbrain.analyse.criticality import Criticality as Criticality
    from twinbrain.analyse.criticality import criticality as criticality
    from twinbrain.analyse.criticality import criticality_of_counts as criticality_of_counts
    from twinbrain.analyse.criticality_trend import CriticalityTrend as CriticalityTrend
    from twinbrain.analyse.criticality_trend import distance_to_criticality as distance_to_criticality
    from twinbrain.analyse.fcd import ConnectivityDynamics as ConnectivityDynamics
    from twinbrain.analyse.fcd import fcd_distance as fcd_distance
    from twinbrain.analyse.fcd import functional_connectivity_dynamics as functional_connectivity_dynamics
    from twinbrain.analyse.filtering import band_pass as band_pass
    from twinbrain.analyse.nulls import phase_randomise as phase_randomise
    from twinbrain.analyse.prediction import ScorePrediction as ScorePrediction
    from twinbrain.analyse.prediction import predict_scores as predict_scores
    from twinbrain.analyse.similarity import Similarity as Similarity
    from twinbrain.analyse.similarity import compare as compare
    from twinbrain.analyse.spectra import Spectra as Spectra
    from twinbrain.analyse.spectra import spectra as spectra
    from twinbrain.analyse.surrogates import autoregressive as autoregressive
    from twinbrain.analyse.surrogates import distances_between as distances_between
    from twinbrain.analyse.surrogates import surrogate_maps as surrogate_maps
    from twinbrain.analyse.synchrony import Synchrony as Synchrony
    from twinbrain.analyse.synchrony import synchrony as synchrony
    from twinbrain.analyse.trials import trial_responses as trial_responses
    from twinbrain.assimilate.calibrate import calibrate as calibrate
    from twinbrain.assimilate.calibrate import recentre as recentre
    from twinbrain.assimilate.conductance import ParameterFit as ParameterFit
    from twinbrain.assimilate.conductance import fit_parameters as fit_parameters
    from twinbrain.assimilate.effective import EffectiveConnectivity as EffectiveConnectivity
    from twinbrain.assimilate.effective import effective_connectivity as effective_connectivity
    from twinbrain.assimilate.fit import Fit as Fit
    from twinbrain.assimilate.fit import assimilate as assimilate
    from twinbrain.assimilate.private import PrivateVariability as PrivateVariability
    from twinbrain.assimilate.private import private_variability as private_variability
    from twinbrain.assimilate.working_point import WorkingPoint as WorkingPoint
    from twinbrain.brain import Brain as Brain
    from twinbrain.config import Study as Study
    from twinbrain.config import read_study as read_study
    from twinbrain.data.pain_sample import load_pain_sample as load_pain_sample
    from twinbrain.data.preparation import Preparation as Preparation
    from twinbrain.data.read import read_subject as read_subject
    from twinbrain.data.sample import load_sample as load_sample
    from twinbrain.data.sample import sample_ids as sample_ids
    from twinbrain.data.subject import Subject as Subject
    from twinbrain.data.surface_sample import load_surface_sample as load_surface_sample
    from twinbrain.data.voxels import VoxelData as VoxelData
    from twinbrain.drive import Drive as Drive
    from twinbrain.errors import CorruptFile as CorruptFile
    from twinbrain.errors import InputError as InputError
    from twinbrain.errors import Interrupted as Interrupted
    from twinbrain.estimate import Estimate as Estimate
    from twinbrain.experiment.auditory import AuditoryPerson as AuditoryPerson
    from twinbrain.experiment.auditory import auditory_person as auditory_person
    from twinbrain.experiment.design import Condition as Condition
    from twinbrain.experiment.design import Design as Design
    from twinbrain.experiment.design import Stimulus as Stimulus
    from twinbrain.experiment.evidence import Evidence as Evidence
    from twinbrain.experiment.evidence import evidence as evidence
    from twinbrain.experiment.runner import resume_experiment as resume_experiment
    from twinbrain.experiment.runner import run_experiment as run_experiment
    from twinbrain.experiment.synthetic_bids import synthetic_bids as synthetic_bids
    from twinbrain.export.results import export as export
    from twinbrain.network import Network as Network
    from twinbrain.neuron import ParameterSet as ParameterSet
    from twinbrain.neuron import parameter_set as parameter_set
    from twinbrain.record import Record as Record
    from twinbrain.report.page import report as report
    from twinbrain.rewire_brain import rewire_brain as rewire_brain
    from twinbrain.rules import EdgeRule as EdgeRule
    from twinbrain.rules import lesion as lesion
    from twinbrain.simulate import Run as Run
    from twinbrain.simulate import simulate as simulate
    from twinbrain.store import load as load
    from twinbrain.store import save as save

_HOME = {
    "Analysis": "analyse.analysis",
    "AuditoryPerson": "experiment.auditory",
    "BetweenSubjects": "analyse.connectivity",
    "Brain": "brain",
    "Condition": "experiment.design",
    "ConnectivityDynamics": "analyse.fcd",
    "CorruptFile": "errors",
    "Criticality": "analyse.criticality",
    "CriticalityTrend": "analyse.criticality_trend",
    "Design": "experiment.design",
    "Drive": "drive",
    "EdgeRule": "rules",
    "EffectiveConnectivity": "assimilate.effective",
    "Estimate": "estimate",
    "Evidence": "experiment.evidence",
    "Fit": "assimilate.fit",
    "Granger": "analyse.causality",
    "InputError": "errors",
    "Interrupted": "errors",
    "Network": "network",
    "ParameterFit": "assimilate.conductance",
    "ParameterSet": "neuron",
    "Preparation": "data.preparation",
    "PrivateVariability": "assimilate.private",
    "Record": "record",
    "Run": "simulate",
    "ScorePrediction": "analyse.prediction",
    "Similarity": "analyse.similarity",
    "Spectra": "analyse.spectra",
    "Stimulus": "experiment.design",
    "Study": "config",
    "Subject": "data.subject",
    "Synchrony": "analyse.synchrony",
    "VoxelData": "data.voxels",
    "WorkingPoint": "assimilate.working_point",
    "analyse": "analyse.analysis",
    "assimilate": "assimilate.fit",
    "auditory_person": "experiment.auditory",
    "autoregressive": "analyse.surrogates",
    "band_pass": "analyse.filtering",
    "between_subject_ceiling": "analyse.connectivity",
    "calibrate": "assimilate.calibrate",
    "compare": "analyse.similarity",
    "compare_edges": "analyse.connectivity",
    "compare_nodes": "analyse.connectivity",
    "criticality": "analyse.criticality",
    "criticality_of_counts": "analyse.criticality",
    "distance_to_criticality": "analyse.criticality_trend",
    "distances_between": "analyse.surrogates",
    "effective_connectivity": "assimilate.effective",
    "evidence": "experiment.evidence",
    "export": "export.results",
    "fcd_distance": "analyse.fcd",
    "functional_connectivity": "analyse.connectivity",
    "functional_connectivity_dynamics": "analyse.fcd",
    "granger": "analyse.causality",
    "fit_parameters": "assimilate.conductance",
    "lesion": "rules",
    "load": "store",
    "load_pain_sample": "data.pain_sample",
    "load_sample": "data.sample",
    "load_surface_sample": "data.surface_sample",
    "parameter_set": "neuron",
    "partial_connectivity": "analyse.connectivity",
    "phase_randomise": "analyse.nulls",
    "predict_scores": "analyse.prediction",
    "private_variability": "assimilate.private",
    "read_study": "config",
    "read_subject": "data.read",
    "recentre": "assimilate.calibrate",
    "report": "report.page",
    "resume_experiment": "experiment.runner",
    "rewire_brain": "rewire_brain",
    "run_experiment": "experiment.runner",
    "sample_ids": "data.sample",
    "save": "store",
    "simulate": "simulate",
    "spectra": "analyse.spectra",
    "surrogate_maps": "analyse.surrogates",
    "synchrony": "analyse.synchrony",
    "synthetic_bids": "experiment.synthetic_bids",
    "trial_responses": "analyse.trials",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"twinbrain.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'twinbrain' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Catalogue(ModuleType):
    """Keep the public verbs (``simulate``, ``assimilate``, ``report``) from being hidden by rooms of the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Catalogue
