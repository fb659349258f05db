"""What was found in a person's files and what a study would do with it, gathered without running anything."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from twinbrain.data.subject import Subject

if TYPE_CHECKING:
    from twinbrain.config import Study
    from twinbrain.data.atlas import Atlas
    from twinbrain.experiment.prepare import Prepared

__all__ = ["Carpet", "Finding", "Findings", "Slice", "findings"]

Float = npt.NDArray[np.float64]

_PLANES = (("z", -24.0), ("z", 0.0), ("z", 24.0), ("z", 48.0), ("y", -20.0), ("x", -10.0))
_BOX = {"x": (-78.0, 78.0), "y": (-112.0, 80.0), "z": (-70.0, 88.0)}
_CARPET_ROWS = 600


@dataclass(frozen=True)
class Finding:
    """One line of the table: what, what was found, and where or what it means; ``state`` is ok, missing or note.

    Examples
    --------
    >>> Finding("tract lengths", "not given", "not needed", "missing").state
    'missing'
    """

    what: str
    found: str
    note: str = ""
    state: str = "ok"


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane through the brain: grey-matter probability, region (-1 none) and a value (NaN none), rows upwards.

    ``title`` names the plane, for example ``"z = 24 mm"``; ``names`` the horizontal and the vertical axis.
    """

    title: str
    names: tuple[str, str]
    grey_matter: Float
    region: npt.NDArray[np.int64]
    value: Float


@dataclass(frozen=True, eq=False)
class Carpet:
    """One BOLD run as a picture: z-scores (row, time), rows sorted into groups.

    ``groups`` holds name and number of rows; ``mean`` and ``change`` (both over time) the mean z-score and the root
    mean square difference from the volume before; ``missing`` the volumes without data.
    """

    run: str
    unit: str
    seconds: float
    values: npt.NDArray[np.float32]
    groups: tuple[tuple[str, int], ...]
    mean: Float
    change: Float
    missing: int


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything the check page shows.

    Attributes
    ----------
    person
        Name.
    rows
        The table.
    steps
        What was done to the data on the way, and which file each part came from.
    warnings
        What to know before trusting results.
    plans
        Name and estimate of each part of the work.
    regions, connectome, order, groups
        Names; the matrix; the order of regions for drawing and the sizes of its groups.
    slices, density_label
        Planes through the brain, empty without an image; what ``value`` is.
    carpets
        One per run.
    region_table
        Column name -> one number per region.
    """

    person: str
    rows: tuple[Finding, ...]
    steps: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    plans: tuple[tuple[str, str], ...]
    regions: tuple[str, ...]
    connectome: Float
    order: npt.NDArray[np.int64]
    groups: tuple[tuple[str, int], ...]
    slices: tuple[Slice, ...] = ()
    density_label: str = ""
    carpets: tuple[Carpet, ...] = ()
    region_table: dict[str, Float] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[Finding, ...]:
        """What was not found, and is asked for."""
        return tuple(row for row in self.rows if row.state == "missing")


def findings(person: Subject, *, study: Study | None = None, ready: Prepared | None = None) -> Findings:
    """Gather what was found; nothing is simulated.

    Parameters
    ----------
    person
        Whom.
    study, ready
        The study and what :func:`twinbrain.experiment.prepare.prepare` made of it, for the estimate; both or none.

    Examples
    --------
    >>> toy = Subject.from_arrays([[0, 1], [2, 0]], ["Insula_L", "Insula_R"], name="toy")
    >>> [(row.what, row.found) for row in findings(toy).missing]
    [('grey matter', 'not given'), ('BOLD', 'none')]
    """
    from twinbrain.experiment.prepare import warnings_of

    order, groups = _order(person)
    slices, label = _slices(person)
    table: dict[str, Float] = {"grey matter (mm3)": person.grey_matter.values}
    if person.synaptic_density is not None:
        table["synaptic density"] = person.synaptic_density.values
    if person.voxels is not None:
        table["voxels"] = np.bincount(person.voxels.region, minlength=len(person.regions)).astype(np.float64)
    return Findings(
        person=person.name,
        rows=tuple(_rows(person, study, ready)),
        steps=tuple((k, v) for k, v in person.provenance.items() if not _is_hash(v)),
        warnings=() if ready is None else tuple(warnings_of(ready)),
        plans=() if study is None or ready is None else tuple(plans_of(study, ready)),
        regions=person.regions,
        connectome=np.asarray(person.connectome.values, np.float64),
        order=order,
        groups=groups,
        slices=slices,
        density_label=label,
        carpets=tuple(_carpet(person, run, order, groups) for run in person.bold),
        region_table=table,
    )


def plans_of(study: Study, ready: Prepared) -> list[tuple[str, str]]:
    """Say what each part of a study would need.

    Examples
    --------
    >>> plans_of.__annotations__["ready"]
    'Prepared'
    """
    from twinbrain.parallel import check_threads

    threads, fit = check_threads(study.execution.threads), study.assimilation
    seconds = ready.repetition_time_s
    one_by_one = fit.method == "inverse"  # networks of one member after another, instead of one of many members
    members, repeats = (1, fit.repeats * max(fit.corrections, 1)) if one_by_one else (fit.members, 1)
    plans = [
        ("assimilation", ready.network, (fit.volumes + fit.warm_up) * seconds * repeats, members),
        ("free run", ready.twin, (fit.volumes + study.twin.warm_up) * seconds, study.twin.members),
    ]
    if ready.laminar is not None:
        plans.append(("laminar run", ready.laminar, study.laminar.duration_s, 1))
    return [
        (
            f"{name}, {duration:.0f} s",
            str(network.estimate(duration, members=members, threads=threads, dt_ms=study.execution.dt_ms)),
        )
        for name, network, duration, members in plans
    ]


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)


def _rows(person: Subject, study: Study | None, ready: Prepared | None) -> list[Finding]:
    known = person.provenance
    n = len(person.regions)
    rows = [
        Finding(
            "regions", f"{n}, {int(person.laminar.sum())} of them six-layered cortex", known.get("atlas labels", "")
        )
    ]
    if "regions without connectome" in known:
        left = known["regions without connectome"]
        rows.append(Finding("regions missing", left, "they have no row in the connectome", "note"))
    if person.atlas is not None:
        rows.append(
            Finding(
                "atlas", f"{person.atlas.name}, label image {_shape_of(person.atlas)}", person.atlas.label_image.name
            )
        )
    weights = np.asarray(person.connectome.values)
    edges = int(np.count_nonzero(weights))
    symmetric = "symmetric" if np.allclose(weights, weights.T, rtol=1e-9) else "directed, row = target"
    rows.append(
        Finding(
            "connectome",
            f"{edges} of {n * (n - 1)} directed edges ({100 * edges / max(n * (n - 1), 1):.0f} %), {symmetric}, "
            f"units: {person.connectome.attrs.get('units', 'not given')}",
            known.get("connectome", ""),
        )
    )
    lonely = [name for name, row in zip(person.regions, weights, strict=True) if not row.any()]
    if lonely:
        rows.append(Finding("no incoming edge", _some(lonely), "these regions receive nothing from afar", "note"))
    rows.append(_lengths(person))
    rows += _grey_matter(person)
    rows += _density(person)
    rows += _voxels(person)
    rows += _bold(person)
    if ready is not None:
        level = f"level {ready.brain.level}, {len(ready.brain.voxels):,} voxels"
        rows.append(Finding("brain of the model", level, ""))
        if study is not None:
            rows.append(Finding("inputs", ", ".join(study.assimilation.inputs), "", "ok"))
    return rows


def _lengths(person: Subject) -> Finding:
    if person.lengths is None:
        return Finding("tract lengths", "not given", "not needed: the model has no delays", "note")
    values = person.lengths.values[person.lengths.values > 0]
    span = f"{values.min():.0f} to {values.max():.0f} mm" if len(values) else "all 0"
    return Finding("tract lengths", f"{span}, units: mm", person.provenance.get("tract lengths", ""))


def _grey_matter(person: Subject) -> list[Finding]:
    grey = person.grey_matter
    if grey.attrs["units"] != "mm3":
        ask = "every region gets the same number of neurons; give grey_matter_mm3 or a label-GM_probseg image"
        return [Finding("grey matter", "not given", ask, "missing")]
    low, high = person.regions[int(grey.values.argmin())], person.regions[int(grey.values.argmax())]
    return [
        Finding(
            "grey matter",
            f"{float(grey.sum()) / 1000:.0f} cm3; {float(grey.min()):.0f} mm3 ({low}) to {float(grey.max()):.0f} mm3 "
            f"({high}), units: mm3",
            person.provenance.get("grey matter", ""),
        )
    ]


def _density(person: Subject) -> list[Finding]:
    from twinbrain.brain import IN_DEGREE_BOUNDS, Brain

    if person.synaptic_density is None:
        return [Finding("synaptic density", "not given", "every region gets the same in-degree", "note")]
    values, known = person.synaptic_density.values, person.provenance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        factor = Brain.from_subject(person).in_degree_factor
    clipped = int(np.isin(factor, IN_DEGREE_BOUNDS).sum())
    return [
        Finding(
            "synaptic density",
            f"{values.min():.2f} to {values.max():.2f}, units: {known.get('synaptic density units', 'relative')}",
            person.provenance.get("synaptic density table", person.provenance.get("synaptic density image", "")),
        ),
        Finding(
            "in-degree factor",
            f"{factor.min():.2f} to {factor.max():.2f}",
            f"{clipped} of {len(factor)} regions at the bounds {IN_DEGREE_BOUNDS[0]} and {IN_DEGREE_BOUNDS[1]}",
        ),
    ]


def _voxels(person: Subject) -> list[Finding]:
    there = person.voxels
    if there is None:
        return []
    words = f"{len(there.region):,} {'voxels' if there.kind == 'voxel' else 'vertices'}"
    note = ""
    if there.grid_affine is not None and there.grid_shape is not None:
        size = np.sqrt((there.grid_affine[:3, :3] ** 2).sum(axis=0))
        words += f" of {' x '.join(f'{s:g}' for s in size)} mm"
        note = f"on a grid of {' x '.join(map(str, there.grid_shape))}"
    counts = np.bincount(there.region, minlength=len(person.regions))
    held = float(there.grey_matter.sum())
    words += f", {counts.min()} to {counts.max()} per region, {held / 1000:.0f} cm3"
    if person.grey_matter.attrs["units"] == "mm3":
        words += f" ({100 * held / float(person.grey_matter.sum()):.0f} % of the regions' grey matter)"
    rows = [Finding("own voxels", words, note)]
    if there.connectome is not None:
        found = f"{there.connectome.nnz:,} connections, {there.connectome.nnz / len(there.region):.0f} per voxel"
        rows.append(Finding("voxel connectome", found, person.provenance.get("voxel connectome", "")))
    return rows


def _bold(person: Subject) -> list[Finding]:
    if not person.bold:
        return [
            Finding(
                "BOLD",
                "none",
                "a fit needs a recorded run: give bold_<run>.csv or a preprocessed BOLD image",
                "missing",
            )
        ]
    rows = []
    for run, bold in person.bold.items():
        seconds, volumes = float(bold.attrs["repetition_time_s"]), bold.sizes["time"]
        gone = int(np.isnan(bold.values).all(axis=1).sum())
        lost = f", {gone} of them missing" if gone else ""
        rows.append(
            Finding(
                f"BOLD run '{run}'",
                f"{volumes} volumes of {seconds:g} s ({volumes * seconds:.0f} s){lost}, {bold.sizes['region']} regions "
                f"matched by name, units: {bold.attrs.get('units', 'not given')}",
                person.provenance.get(f"bold {run}", ""),
            )
        )
    return rows


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _shape_of(atlas: Atlas) -> str:
    import nibabel as nib

    image: Any = nib.load(atlas.label_image)
    sizes = "x".join(f"{z:g}" for z in image.header.get_zooms()[:3])
    return f"{' x '.join(map(str, image.shape[:3]))} points of {sizes} mm"


def _order(person: Subject) -> tuple[npt.NDArray[np.int64], tuple[tuple[str, int], ...]]:
    """Sort regions into left cortex, right cortex, and what is not laminar; without sides into two groups."""
    end = np.array([_side(name) for name in person.regions])
    laminar = person.laminar.values.astype(bool)
    kinds = [("cortex, left", laminar & (end == "L")), ("cortex, right", laminar & (end == "R"))]
    kinds += [("cortex", laminar & (end == "")), ("not laminar", ~laminar)]
    order, groups = [], []
    for name, mask in kinds:
        if mask.any():
            order.append(np.flatnonzero(mask))
            groups.append((name, int(mask.sum())))
    return np.concatenate(order).astype(np.int64), tuple(groups)


def _side(name: str) -> str:
    if name.endswith(("_L", "-L")) or name.startswith(("L_", "lh", "ctx-lh", "Left")):
        return "L"
    return "R" if name.endswith(("_R", "-R")) or name.startswith(("R_", "rh", "ctx-rh", "Right")) else ""


def _carpet(person: Subject, run: str, order: npt.NDArray[np.int64], groups: tuple[tuple[str, int], ...]) -> Carpet:
    """Draw voxels if they were recorded, else regions; at most some hundred rows, evenly chosen within each group."""
    series = np.asarray(person.bold[run].values, np.float64)
    unit, rank = "region", order
    sizes = [n for _, n in groups]
    there = person.voxels
    if there is not None and run in there.bold:
        series, unit = np.asarray(there.bold[run].values, np.float64), "voxel" if there.kind == "voxel" else "vertex"
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        rank = np.argsort(place[there.region], kind="stable")
        owner = np.repeat(np.arange(len(sizes)), sizes)[place[there.region]]
        sizes = np.bincount(owner, minlength=len(sizes)).tolist()
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (series - np.nanmean(series, axis=0)) / np.nanstd(series, axis=0)
    z = z[:, rank]
    chosen, kept = [], []
    first = 0
    for (name, _), size in zip(groups, sizes, strict=True):
        take = min(size, max(1, round(_CARPET_ROWS * size / max(sum(sizes), 1))))
        chosen.append(first + np.unique(np.linspace(0, size - 1, take).astype(np.int64)))
        kept.append((name, len(chosen[-1])))
        first += size
    change = np.sqrt(np.nanmean(np.diff(z, axis=0) ** 2, axis=1))
    return Carpet(
        run=run,
        unit=unit,
        seconds=float(person.bold[run].attrs["repetition_time_s"]),
        values=z[:, np.concatenate(chosen)].T.astype(np.float32),
        groups=tuple(kept),
        mean=np.nanmean(z, axis=1),
        change=np.concatenate([[np.nan], change]),
        missing=int(np.isnan(series).all(axis=1).sum()),
    )


def _slices(person: Subject) -> tuple[tuple[Slice, ...], str]:
    """Look up planes of the images at the nearest point; none without a label image."""
    import nibabel as nib

    if person.atlas is None:
        return (), ""
    tissue: Any = nib.load(person.atlas.grey_matter_image)
    labels: Any = nib.load(person.atlas.label_image)
    grey = np.asarray(tissue.dataobj, np.float32) / np.float32(person.atlas.grey_matter_scale)
    number = np.asarray(labels.dataobj).astype(np.int64)
    value = {name: label for label, name in person.atlas.labels.items()}
    row = np.full(max(int(number.max()), max(value.values())) + 2, -1, np.int64)
    for k, name in enumerate(person.regions):
        row[value[name]] = k
    density, label, affine = _density_volume(person)
    made = []
    for axis, at in _PLANES:
        names, points = _plane(axis, at)
        region = _lookup(row[np.maximum(number, 0)], labels.affine, points, -1)
        if density is not None:
            shown = _lookup(density, affine, points, np.nan)
        elif person.synaptic_density is not None:
            values = np.append(person.synaptic_density.values, np.nan)
            shown = values[region]
        else:
            shown = np.full(region.shape, np.nan)
        title = f"{axis} = {at:g} mm"
        made.append(Slice(title, names, _lookup(grey, tissue.affine, points, 0.0).astype(np.float64), region, shown))
    return tuple(made), label


def _density_volume(person: Subject) -> tuple[Float | None, str, Float]:
    there = person.voxels
    label = "" if person.synaptic_density is None else "synaptic density, by region"
    if there is None or there.synaptic_density is None or there.grid_index is None or there.grid_shape is None:
        return None, label, np.eye(4)
    volume = np.full(there.grid_shape, np.nan)
    volume[tuple(there.grid_index.T)] = there.synaptic_density.values
    return volume, "synaptic density, by voxel", np.asarray(there.grid_affine)


def _plane(axis: str, at: float) -> tuple[tuple[str, str], Float]:
    """Points (mm) of a plane on a grid of 1.5 mm, first row lowest."""
    across, up = {"z": ("x", "y"), "y": ("x", "z"), "x": ("y", "z")}[axis]
    u, v = (np.arange(*_BOX[name], 1.5) for name in (across, up))
    points = np.empty((len(v), len(u), 3))
    points[..., "xyz".index(across)] = u
    points[..., "xyz".index(up)] = v[:, None]
    points[..., "xyz".index(axis)] = at
    return (across, up), points


def _lookup(volume: npt.NDArray[Any], affine: Any, points: Float, outside: float) -> npt.NDArray[Any]:
    inverse = np.linalg.inv(affine)
    ijk = np.rint(points @ inverse[:3, :3].T + inverse[:3, 3] + 1e-6).astype(np.int64)
    inside = ((ijk >= 0) & (ijk < volume.shape)).all(axis=-1)
    ijk = np.clip(ijk, 0, np.array(volume.shape) - 1)
    return np.where(inside, volume[tuple(np.moveaxis(ijk, -1, 0))], outside)
