"""The only writer of results: whole or not at all, checksummed, versioned, without pickle.

A results folder holds ``results.zarr`` (arrays, Zarr version 3, one group per noun), ``scores.json``,
``tables/*.csv``, ``study.toml``, ``provenance.json``, ``checksums.json`` and ``status``. Everything is first
written into a hidden folder inside it; one rename then makes it the folder's content. A process that is
killed before the rename leaves the former content, a process that is killed after it leaves the new one,
finished by whoever opens the folder next. Checksums (SHA-256) of every file are compared on loading, so
damage is named and never read.
"""

from twinbrain.store.checkpoint import Checkpoint, Due
from twinbrain.store.files import file_sha256, read_json, write_json_atomic, write_text_atomic
from twinbrain.store.folder import clear_results, locked, output_folder, read_status, write_status
from twinbrain.store.origin import provenance
from twinbrain.store.results import Result, load, save
from twinbrain.store.spikes import SpikeFolder, iterate_spikes, read_spikes

__all__ = [
    "Checkpoint",
    "Due",
    "Result",
    "SpikeFolder",
    "clear_results",
    "file_sha256",
    "iterate_spikes",
    "load",
    "locked",
    "output_folder",
    "provenance",
    "read_json",
    "read_spikes",
    "read_status",
    "save",
    "write_json_atomic",
    "write_status",
    "write_text_atomic",
]
