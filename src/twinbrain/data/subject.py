"""What was measured on one person, checked once at the door and read-only afterwards."""

from __future__ import annotations

import html
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.data.align import MAX_REPETITION_TIME_S, MIN_VOLUMES, matrix, region_names, table, vector
from twinbrain.data.atlas import Atlas
from twinbrain.data.voxels import VoxelData
from twinbrain.errors import InputError, nearest

__all__ = ["NOT_LAMINAR", "Subject", "is_laminar"]

Float = npt.NDArray[np.float64]

#: Names that begin like this are not six-layered neocortex (default of ``Subject.laminar``).
NOT_LAMINAR = (
    "Hippocampus",
    "ParaHippocampal",
    "Amygdala",
    "Caudate",
    "Putamen",
    "Pallidum",
    "Thalamus",
    "Olfactory",
    "Cerebel",
    "Vermis",
    "Accumbens",
    "Substantia_Nigra",
    "Brain-Stem",
    "VentralDC",
)


def is_laminar(name: str) -> bool:
    """Say whether a region is six-layered neocortex, judged by its AAL2 (or FreeSurfer) name.

    Everything is, except names that begin (case-sensitive) with Hippocampus, ParaHippocampal (both
    allocortex), Amygdala, Caudate, Putamen, Pallidum, Thalamus, Olfactory, Cerebel or Vermis, or
    (FreeSurfer and HCPex) Accumbens, Substantia_Nigra, Brain-Stem or VentralDC; ``Left-``, ``Right-``, ``L_`` and
    ``R_`` before the name are passed over. The
    laminar working point was calibrated with ParaHippocampal and Olfactory as columns and only the
    first and the deep nuclei as canonical circuits; pass ``laminar=`` to choose otherwise, and always
    pass it when the names are not AAL2's.

    Examples
    --------
    >>> is_laminar("Insula_L"), is_laminar("Thalamus_L")
    (True, False)
    """
    for side in ("Left-", "Right-", "L_", "R_"):
        name = name.removeprefix(side)
    return not name.startswith(NOT_LAMINAR)


def _array(values: npt.NDArray[Any], dims: tuple[str, ...], coords: Mapping[str, Any], **attrs: Any) -> xr.DataArray:
    """Make a read-only DataArray: the numbers that were checked are the numbers that stay."""
    values = np.ascontiguousarray(values)
    values.flags.writeable = False
    return xr.DataArray(values, dims=dims, coords=dict(coords), attrs=attrs)


def _units(value: Any, default: str) -> str:
    return str(value.attrs.get("units", default)) if isinstance(value, xr.DataArray) else default


def _not_finite(values: Float, rows: Iterable[object], columns: Iterable[object]) -> str | None:
    """Name the first place where a matrix is not finite."""
    bad = np.argwhere(~np.isfinite(values))
    if not len(bad):
        return None
    i, j = int(bad[0][0]), int(bad[0][1])
    return f"{values[i, j]} at row '{list(rows)[i]}', column '{list(columns)[j]}'"


@dataclass(frozen=True, eq=False)
class Subject:
    """One person: connectome, recorded BOLD, grey matter and labels. Read-only and labelled.

    Build one with :meth:`from_arrays`, :func:`twinbrain.read_subject` or :func:`twinbrain.load_sample`;
    these check everything, the constructor does not.

    Attributes
    ----------
    name
        Who it is.
    connectome
        ``(target, source)``, both with region names; >= 0, finite, zero diagonal, as measured (not
        normalised). Row = target: entry (i, j) is what region i receives from region j.
    bold
        Run name -> ``(time, region)``; coordinate ``time`` in seconds (k x repetition time, the first
        volume is 0); attributes ``units`` and ``repetition_time_s``. A missing volume is NaN in every region.
        Empty if nothing was recorded.
    grey_matter
        ``(region,)`` in mm3; ones with units "1" if not given.
    laminar
        ``(region,)`` bool: True = six-layered neocortex.
    lengths
        ``(target, source)`` tract lengths in mm, or None.
    positions
        ``(region, axis)`` centres in mm (MNI), axis = x, y, z, or None.
    synaptic_density
        ``(region,)`` relative synaptic density (SV2A PET), or None.
    atlas
        Where the label image of this parcellation is; None means no voxel level of a template.
    provenance
        File or note -> SHA-256 or text.
    voxels
        What was measured at the person's own voxels or vertices (grey matter, BOLD, connectome, synaptic
        density), or None.
    events
        Run name -> table with onset and duration in s and what happened (BIDS events). Empty if there are none.

    Examples
    --------
    >>> person = Subject.from_arrays([[0, 1], [2, 0]], ["Insula_L", "Thalamus_L"], name="toy")
    >>> float(person.connectome.sel(target="Thalamus_L", source="Insula_L"))
    2.0
    >>> person
    Subject 'toy': 2 regions (1 laminar), connectome density 1.00, no BOLD
    """

    name: str
    connectome: xr.DataArray
    bold: Mapping[str, xr.DataArray]
    grey_matter: xr.DataArray
    laminar: xr.DataArray
    lengths: xr.DataArray | None = None
    positions: xr.DataArray | None = None
    synaptic_density: xr.DataArray | None = None
    atlas: Atlas | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    voxels: VoxelData | None = None
    events: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", MappingProxyType(dict(self.events)))
        object.__setattr__(self, "bold", MappingProxyType(dict(self.bold)))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    def __reduce__(self) -> tuple[Any, ...]:  # mapping proxies cannot be sent to another process
        values = [getattr(self, name) for name in self.__dataclass_fields__]
        return type(self), tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)

    @classmethod
    def from_arrays(
        cls,
        connectome: Any,
        regions: Iterable[str] | None = None,
        bold: Mapping[str, Any] | None = None,
        *,
        repetition_time_s: float | None = None,
        grey_matter: Any = None,
        lengths: Any = None,
        positions: Any = None,
        synaptic_density: Any = None,
        laminar: Any = None,
        name: str = "subject",
        atlas: Atlas | None = None,
        provenance: Mapping[str, str] | None = None,
        connectome_units: str = "arbitrary",
        bold_units: str = "arbitrary",
        voxels: VoxelData | None = None,
        events: Mapping[str, pd.DataFrame] | None = None,
    ) -> Subject:
        """Check arrays and make a Subject of them.

        Plain arrays are in the order of ``regions``. DataFrames, Series and DataArrays that carry
        region names are put in that order by name; a name too many or too few is refused.

        Parameters
        ----------
        connectome
            Region x region, rows = targets, columns = sources (a DataArray must have dimensions
            ``target`` and ``source``, in either order). Finite, >= 0, not all zero. A diagonal that is
            not zero is set to zero, with a warning and a note in ``provenance``.
        regions
            Region names. May be left out if the connectome carries them.
        bold
            Run name -> time x region. At least 20 volumes, finite, no region constant. A volume that is missing
            (scrubbed) is NaN in every region; the fit treats it as missing.
        repetition_time_s
            Seconds from volume to volume; needed with ``bold`` unless each run is a DataArray with the
            attribute ``repetition_time_s``. Never guessed.
        grey_matter
            mm3 per region, > 0. Default: ones.
        lengths
            Tract lengths in mm, >= 0, as ``connectome``.
        positions
            Region x 3, mm.
        synaptic_density
            One positive number per region, relative units.
        laminar
            True where a region is six-layered neocortex. Default: :func:`is_laminar` of its name.
        name
            Who it is.
        atlas
            The parcellation's label image, for a brain at voxel level.
        provenance
            File or note -> SHA-256 or text.
        connectome_units, bold_units
            Units, where the arrays do not carry ``attrs["units"]`` themselves.
        voxels
            The person's own voxels; of the same regions. See :meth:`from_voxels`.
        events
            Run name -> table of events; the runs are those of ``bold``.

        Raises
        ------
        InputError
            With one sentence that says what was found where, what was expected and how to mend it.

        Examples
        --------
        >>> import numpy as np
        >>> x = np.random.default_rng(1).normal(size=(30, 2))
        >>> person = Subject.from_arrays(
        ...     [[0, 1], [2, 0]], ["Insula_L", "Insula_R"], bold={"rest": x}, repetition_time_s=0.72
        ... )
        >>> person.bold["rest"].sizes["time"], person.repetition_time_s
        (30, 0.72)
        >>> Subject.from_arrays([[0, 1], [2, 0]], ["Insula_L", "Insula_R"], bold={"rest": x})
        Traceback (most recent call last):
        ...
        twinbrain.errors.InputError: bold 'rest': the repetition time is missing; give repetition_time_s (s).
        """
        names = region_names(_labels(connectome) if regions is None else regions)
        notes = dict(provenance or {})
        cc = {"target": list(names), "source": list(names)}
        return cls(
            name=str(name),
            connectome=_array(
                _checked_connectome(connectome, names, notes),
                ("target", "source"),
                cc,
                units=_units(connectome, connectome_units),
            ),
            bold=_checked_bold(bold, names, repetition_time_s, bold_units),
            grey_matter=_array(
                np.ones(len(names)) if grey_matter is None else _positive(grey_matter, names, "grey_matter", "mm3"),
                ("region",),
                {"region": list(names)},
                units="1" if grey_matter is None else _units(grey_matter, "mm3"),
            ),
            laminar=_array(_checked_laminar(laminar, names), ("region",), {"region": list(names)}, units="1"),
            lengths=None
            if lengths is None
            else _array(_checked_lengths(lengths, names), ("target", "source"), cc, units="mm"),
            positions=None
            if positions is None
            else _array(
                _checked_positions(positions, names),
                ("region", "axis"),
                {"region": list(names), "axis": ["x", "y", "z"]},
                units="mm",
            ),
            synaptic_density=None
            if synaptic_density is None
            else _array(
                _positive(synaptic_density, names, "synaptic_density", "relative units"),
                ("region",),
                {"region": list(names)},
                units="relative",
            ),
            atlas=atlas,
            provenance=notes,
            voxels=None if voxels is None else voxels.with_regions(names),
            events=_checked_events(events, bold),
        )

    @classmethod
    def from_voxels(
        cls, voxels: VoxelData, *, connectome: Any = None, connectome_units: str = "arbitrary", **more: Any
    ) -> Subject:
        """Make a Subject of measured voxels; what is regional is summed or averaged over each region's voxels.

        Grey matter is the sum over the voxels, positions, synaptic density and BOLD are means weighted by grey
        matter, and the regional connectome is the sum over all pairs of voxels (connections inside a region
        are left out).

        Parameters
        ----------
        voxels
            The voxels, with their regions.
        connectome
            Between regions; needed if the voxels carry none.
        connectome_units
            Units of the connectome, for example ``"streamlines"``.
        more
            As :meth:`from_arrays`; what is given here is used instead of what the voxels say.

        Raises
        ------
        InputError
            As :meth:`from_arrays`.

        Examples
        --------
        >>> there = VoxelData.from_arrays(
        ...     ["a", "a", "b"], [1.0, 3.0, 2.0], [[0, 0, 0], [3, 0, 0], [6, 0, 0]],
        ...     connectome=[[0, 1, 2], [1, 0, 4], [2, 4, 0]],
        ... )
        >>> person = Subject.from_voxels(there)
        >>> person.connectome.values.tolist(), person.grey_matter.values.tolist()
        ([[0.0, 6.0], [6.0, 0.0]], [4.0, 2.0])
        """
        given: dict[str, Any] = {
            "grey_matter": voxels.region_grey_matter(),
            "positions": voxels.mean_of_regions(voxels.positions.values.T).T,
            "bold": {
                run: xr.DataArray(
                    voxels.mean_of_regions(series.values),
                    dims=("time", "region"),
                    coords={"region": list(voxels.regions)},
                    attrs=dict(series.attrs),
                )
                for run, series in voxels.bold.items()
            },
        }
        if voxels.synaptic_density is not None:
            given["synaptic_density"] = voxels.mean_of_regions(voxels.synaptic_density.values)
        return cls.from_arrays(
            voxels.region_connectome() if connectome is None else connectome,
            voxels.regions,
            **(given | more),
            connectome_units=connectome_units,
            voxels=voxels,
        )

    @property
    def regions(self) -> tuple[str, ...]:
        """Region names, in the order of every array of this Subject."""
        return tuple(str(n) for n in self.connectome.coords["target"].values)

    @property
    def repetition_time_s(self) -> float:
        """Seconds from volume to volume of the first run.

        Raises
        ------
        InputError
            If no BOLD was recorded.
        """
        for run in self.bold.values():
            return float(run.attrs["repetition_time_s"])
        raise InputError(f"subject '{self.name}' has no BOLD, so it has no repetition time; give bold={{'rest': ...}}.")

    @property
    def table(self) -> pd.DataFrame:
        """One row per region: grey_matter, laminar, and x, y, z and synaptic_density where known."""
        columns: dict[str, Any] = {"grey_matter": self.grey_matter.values, "laminar": self.laminar.values}
        if self.positions is not None:
            columns |= {axis: self.positions.sel(axis=axis).values for axis in ("x", "y", "z")}
        if self.synaptic_density is not None:
            columns["synaptic_density"] = self.synaptic_density.values
        return pd.DataFrame(columns, index=pd.Index(self.regions, name="region"))

    def _facts(self) -> dict[str, str]:
        n = len(self.regions)
        density = float(np.count_nonzero(self.connectome.values)) / max(1, n * (n - 1))
        facts = {
            "regions": f"{n} regions ({int(self.laminar.values.sum())} laminar)",
            "connectome": f"connectome density {density:.2f}",
        }
        runs = [f"{k} {v.sizes['time']} x {v.attrs['repetition_time_s']:g} s" for k, v in self.bold.items()]
        facts["BOLD"] = "BOLD " + ", ".join(runs) if runs else "no BOLD"
        if self.grey_matter.attrs["units"] == "mm3":
            facts["grey matter"] = f"grey matter {float(self.grey_matter.sum()) / 1000:.0f} cm3"
        if self.atlas is not None:
            facts["atlas"] = f"atlas {self.atlas.name}"
        if self.voxels is not None:
            facts["voxels"] = f"{len(self.voxels)} own {'voxels' if self.voxels.kind == 'voxel' else 'vertices'}"
        return facts

    def __repr__(self) -> str:
        return f"Subject {self.name!r}: " + ", ".join(self._facts().values())

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self._facts().items())
        return f"<table><caption>Subject {html.escape(self.name)}</caption>{rows}</table>"


def _labels(connectome: Any) -> Iterable[object]:
    if isinstance(connectome, xr.DataArray) and "target" in connectome.coords:
        return list(connectome.coords["target"].values)
    if isinstance(connectome, pd.DataFrame) and not isinstance(connectome.index, pd.RangeIndex):
        return list(connectome.index)
    raise InputError("connectome: it carries no region names; give regions=[...], one name per row.")


def _checked_connectome(value: Any, names: tuple[str, ...], notes: dict[str, str]) -> Float:
    array = matrix(value, names, "connectome")
    if (where := _not_finite(array, names, names)) is not None:
        raise InputError(f"connectome: {where} was found, but every entry must be finite; use 0 for no connection.")
    if (array < 0).any():
        i, j = (int(k) for k in np.argwhere(array < 0)[0])
        raise InputError(
            f"connectome: {array[i, j]:g} was found at target '{names[i]}', source '{names[j]}', but "
            "strengths must be >= 0; give counts or densities, not logarithms or correlations."
        )
    filled = np.flatnonzero(np.diag(array))
    if len(filled):
        text = (
            f"connectome: the diagonal was not zero at {len(filled)} region(s), first "
            f"'{names[int(filled[0])]}' ({array[filled[0], filled[0]]:g}), and was set to zero: connections "
            "inside a region belong to the circuit."
        )
        warnings.warn(text, UserWarning, stacklevel=3)
        notes["connectome diagonal"] = text
        np.fill_diagonal(array, 0.0)
    if not array.any() and len(names) > 1:
        raise InputError("connectome: every entry off the diagonal is zero; give at least one connection.")
    return array


def _positive(value: Any, names: tuple[str, ...], what: str, unit: str) -> Float:
    array = vector(value, names, what)
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if len(bad):
        raise InputError(
            f"{what}: {array[bad[0]]:g} was found for region '{names[int(bad[0])]}', but a positive number "
            f"({unit}) is needed; correct it or leave the region out everywhere."
        )
    return array


def _checked_laminar(value: Any, names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    if value is None:
        return np.array([is_laminar(n) for n in names], dtype=np.bool_)
    array = vector(value, names, "laminar")
    bad = np.flatnonzero((array != 0) & (array != 1))
    if len(bad):
        raise InputError(
            f"laminar: {array[bad[0]]:g} was found for region '{names[int(bad[0])]}', but only true or "
            "false is possible; give true for six-layered neocortex."
        )
    return np.asarray(array == 1)


def _checked_lengths(value: Any, names: tuple[str, ...]) -> Float:
    array = matrix(value, names, "lengths")
    bad = np.argwhere(~(np.isfinite(array) & (array >= 0)))
    if len(bad):
        i, j = (int(k) for k in bad[0])
        raise InputError(
            f"lengths: {array[i, j]:g} was found at target '{names[i]}', source '{names[j]}', but tract "
            "lengths must be finite and >= 0 mm; use 0 where there is no tract."
        )
    return array


def _checked_positions(value: Any, names: tuple[str, ...]) -> Float:
    array = table(value, names, "positions", rows="region", columns="axis", names=("x", "y", "z"))
    if (where := _not_finite(array, names, "xyz")) is not None:
        raise InputError(f"positions: {where} was found, but coordinates must be finite (mm); correct it.")
    return array


def _checked_bold(
    bold: Mapping[str, Any] | None, names: tuple[str, ...], repetition_time_s: float | None, units: str
) -> dict[str, xr.DataArray]:
    if bold is None:
        return {}
    if not isinstance(bold, Mapping):
        raise InputError(
            "bold: one array was found, but runs need names; give bold={'rest': array} with time x region."
        )
    result: dict[str, xr.DataArray] = {}
    for run, value in bold.items():
        what = f"bold '{run}'"
        tr = _repetition_time(value, repetition_time_s, what)
        array = table(value, names, what, rows="time", columns="region")
        volumes = array.shape[0]
        missing = np.isnan(array).all(axis=1)
        there = array[~missing]
        if len(there) < MIN_VOLUMES:
            raise InputError(
                f"{what}: {len(there)} volumes were found{' that are not missing' if missing.any() else ''}, but at "
                f"least {MIN_VOLUMES} are needed; give a longer run as time x region."
            )
        if (where := _not_finite(there, np.flatnonzero(~missing), names)) is not None:
            raise InputError(
                f"{what}: {where} was found (rows count volumes from 0), but every value must be finite "
                "unless the whole volume is missing; cut the volume or leave the region out everywhere."
            )
        flat = np.flatnonzero(np.ptp(there, axis=0) == 0)
        if len(flat):
            raise InputError(
                f"{what}: region '{names[int(flat[0])]}' is constant ({there[0, flat[0]]:g} in all "
                f"{len(there)} volumes{f', and so are {len(flat) - 1} more' if len(flat) > 1 else ''}), so "
                "nothing was recorded there; leave it out everywhere."
            )
        result[str(run)] = _array(
            array,
            ("time", "region"),
            {"time": ("time", np.arange(volumes) * tr, {"units": "s"}), "region": list(names)},
            units=_units(value, units),
            repetition_time_s=tr,
        )
    return result


def _checked_events(
    events: Mapping[str, pd.DataFrame] | None, bold: Mapping[str, Any] | None
) -> dict[str, pd.DataFrame]:
    for run, listed in (events or {}).items():
        if run not in (bold or {}):
            raise InputError(
                f"events: there is no BOLD run '{run}'{nearest(run, bold or {})}; name the run they are of."
            )
        if "onset" not in listed.columns:
            raise InputError(f"events '{run}': the column 'onset' is missing; give onset and duration in seconds.")
    return {run: listed.copy() for run, listed in (events or {}).items()}


def _repetition_time(value: Any, given: float | None, what: str) -> float:
    carried = value.attrs.get("repetition_time_s") if isinstance(value, xr.DataArray) else None
    chosen = carried if given is None else given
    if chosen is None:
        raise InputError(f"{what}: the repetition time is missing; give repetition_time_s (s).")
    try:
        tr = float(chosen)
    except (TypeError, ValueError):
        tr = math.nan
    if not (math.isfinite(tr) and tr > 0):
        raise InputError(
            f"{what}: repetition_time_s is {chosen!r}, but it must be a positive number of seconds; read it "
            "from the scanner protocol or the BIDS side-car file."
        )
    if tr > MAX_REPETITION_TIME_S:
        raise InputError(
            f"{what}: repetition_time_s is {tr:g}, which looks like milliseconds; give seconds, for example "
            f"{tr / 1000:g}."
        )
    if carried is not None and not math.isclose(float(carried), tr, rel_tol=1e-9):
        raise InputError(
            f"{what}: the array says its repetition time is {float(carried):g} s, but "
            f"repetition_time_s={tr:g} was given; keep one of the two."
        )
    return tr
