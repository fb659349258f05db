"""One small synthetic person on disk, written once for all tests that read it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from twinbrain.experiment.synthetic import SyntheticPerson
from twinbrain.experiment.synthetic_bids import synthetic_bids


@functools.cache
def small_bids() -> tuple[Path, SyntheticPerson]:
    """Return the folder (not to be changed) and what was planted."""
    parent = Path(tempfile.mkdtemp(prefix="twinbrain-bids-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    return parent / "bids", synthetic_bids(parent / "bids", small=True)
