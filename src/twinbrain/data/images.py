"""Volume images with their headers checked: size against the file, affine, number of dimensions, side-car times."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinbrain.data.safety import check_gzip, check_memory, file_size, reading
from twinbrain.errors import InputError

__all__ = ["Volume", "hemisphere_of", "load_volume", "require_same_space"]

Float = npt.NDArray[np.float64]

_SUFFIXES = (".nii", ".nii.gz", ".mgh", ".mgz")
_SPACING_MM = (0.05, 30.0)
_MOST_HEAD = 512 << 20  # bytes before the numbers of a compressed image


@dataclass(frozen=True, eq=False)
class Volume:
    """An image whose header was checked; its numbers are read when they are asked for.

    Attributes
    ----------
    path
        The file.
    shape
        Three numbers, and the number of volumes if there are several.
    affine
        4 x 4, place in the grid -> mm.
    image
        The nibabel image.
    """

    path: Path
    shape: tuple[int, ...]
    affine: Float
    image: Any

    @property
    def spacing(self) -> Float:
        """Distance of neighbouring points along each axis, mm."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)), dtype=np.float64)

    def numbers(self) -> npt.NDArray[np.float32]:
        """Read all numbers as float32."""
        with reading(self.path, "an image"), np.errstate(all="ignore"):
            return np.asarray(self.image.get_fdata(dtype=np.float32, caching="unchanged"), dtype=np.float32)

    def labels(self) -> npt.NDArray[np.int64]:
        """Read all numbers as whole numbers >= 0.

        Raises
        ------
        InputError
            If a number is negative or not whole: the image was interpolated, or is no label image.
        """
        with reading(self.path, "a label image"), np.errstate(all="ignore"):
            stored = np.asarray(self.image.dataobj)
            if stored.dtype.kind == "f":
                bad = ~(np.isfinite(stored) & (stored == np.rint(stored)))
                if bad.any():
                    place = tuple(int(k) for k in np.argwhere(bad)[0])
                    raise InputError(
                        f"{self.path}: {stored[place]:g} was found at {place}, but labels are whole numbers; give a "
                        "label image that was resampled with nearest-neighbour interpolation."
                    )
            values = stored.astype(np.int64)
        if values.size and int(values.min()) < 0:
            place = tuple(int(k) for k in np.unravel_index(int(np.argmin(values)), values.shape))
            raise InputError(
                f"{self.path}: label {values[place]} was found at {place}, but labels are 0 (outside) or above; if the "
                "image was saved as a signed byte, save it as int16."
            )
        return values


def load_volume(path: str | Path, *, dimensions: tuple[int, ...] = (3,), what: str = "an image") -> Volume:
    """Open an image and check what its header says.

    Parameters
    ----------
    path
        ``.nii``, ``.nii.gz``, ``.mgh`` or ``.mgz``.
    dimensions
        Numbers of dimensions that are right (axes of length 1 at the end do not count).
    what
        What the image is, for messages.

    Returns
    -------
    Volume

    Raises
    ------
    InputError
        If the file is missing, damaged, cut off, larger than the memory, has other dimensions, or an affine that
        is no map of space.
    """
    import nibabel as nib

    path = Path(path)
    size = file_size(path)
    if not path.name.endswith(_SUFFIXES):
        raise InputError(f"{path}: the name does not end in {', '.join(_SUFFIXES)}; give {what} as NIfTI or MGH.")
    if path.suffix not in (".mgh", ".mgz"):
        check_nifti_head(path, what)
    with reading(path, what):
        kind: Any = nib.MGHImage if path.suffix in (".mgh", ".mgz") else _nifti_class(path)
        image = kind.from_filename(path)
        shape = tuple(int(n) for n in image.shape)
        affine = np.array(image.affine, dtype=np.float64)
        item = np.dtype(image.get_data_dtype()).itemsize
        offset = int(image.dataobj.offset)
    while len(shape) > max(dimensions) and shape[-1] == 1:
        shape = shape[:-1]
    while len(shape) > 3 and shape[-1] == 1 and 4 not in dimensions:
        shape = shape[:-1]
    if not shape or min(shape) < 1 or offset < 0:
        raise InputError(f"{path}: the header says the size is {shape}; the file is damaged, so make it again.")
    count = 1
    for n in shape:
        count *= n
    expected = offset + count * item
    if path.suffix in (".gz", ".mgz"):
        check_memory(path, count * max(item, 4), what)
        check_gzip(path, expected)
    elif expected > size:
        raise InputError(
            f"{path}: the file has {size} bytes, but its header announces {expected}; it is cut off or damaged, so "
            "copy or make it again."
        )
    check_memory(path, count * max(item, 4), what)
    if len(shape) not in dimensions:
        wanted = " or ".join(f"{n}-D" for n in dimensions)
        volumes = " (volumes are missing: is it the mean or the reference image?)" if dimensions == (4,) else ""
        raise InputError(
            f"{path}: an image of size {' x '.join(map(str, shape))} was found, but {what} must be {wanted}"
            f"{volumes}; give the right file."
        )
    _check_affine(path, affine)
    return Volume(path, shape, affine, _reshaped(image, shape))


def check_nifti_head(path: Path, what: str) -> None:
    """Compare the place of the numbers and the lengths of the extensions in front of them with the file.

    Raises
    ------
    InputError
        If the header is none, or announces more than the file can hold.
    """
    import gzip

    size = file_size(path)
    most = min(size * 1032, _MOST_HEAD) if path.suffix == ".gz" else size
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with reading(path, what), opener(path, "rb") as file:
        head = file.read(544)
        if len(head) < 352:
            raise InputError(f"{path}: this cannot be read as {what} (it is too short for a header); copy it again.")
        for order in ("<", ">"):
            length = struct.unpack(f"{order}i", head[:4])[0]
            if length == 348:
                place, start = float(struct.unpack(f"{order}f", head[108:112])[0]), 348
                break
            if length == 540 and len(head) == 544:
                place, start = float(struct.unpack(f"{order}q", head[168:176])[0]), 540
                break
        else:
            raise InputError(
                f"{path}: this cannot be read as {what} (it does not begin like NIfTI); give the right file."
            )
        if not 0 <= place <= most:
            raise InputError(
                f"{path}: the header says that the numbers begin at byte {place:g}, but the file has {size}; it is "
                "damaged, so make it again."
            )
        flag, at = head[start], start + 4
        while flag and at + 8 <= place:
            file.seek(at)
            extension = struct.unpack(f"{order}i", file.read(4))[0]
            if not 8 <= extension <= place - at:
                raise InputError(
                    f"{path}: an extension of its header has {extension} bytes; it is damaged, so make it again."
                )
            at += extension


def _nifti_class(path: Path) -> Any:
    """NIfTI-1 and NIfTI-2 differ in the first four bytes: the length of the header."""
    import gzip

    import nibabel as nib

    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        start = file.read(4)
    return nib.Nifti2Image if start in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nib.Nifti1Image


def _reshaped(image: Any, shape: tuple[int, ...]) -> Any:
    return image if tuple(image.shape) == shape else image.slicer[(..., *(0,) * (len(image.shape) - len(shape)))]


def _check_affine(path: Path, affine: Float) -> None:
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise InputError(f"{path}: the affine is not a map of space; set it with the tool that made the image.")
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if not ((spacing > _SPACING_MM[0]) & (spacing < _SPACING_MM[1])).all():
        raise InputError(
            f"{path}: the affine puts neighbouring points {np.array2string(spacing, precision=3)} mm apart, but "
            f"{_SPACING_MM[0]:g} to {_SPACING_MM[1]:g} mm are expected; check the units of the header (mm)."
        )
    if abs(float(np.linalg.det(affine[:3, :3]))) < 0.05 * float(np.prod(spacing)):
        raise InputError(
            f"{path}: two axes of the affine point the same way; set it with the tool that made the image."
        )


def box_of(volume: Volume) -> tuple[Float, Float]:
    """Return the lowest and the highest corner of an image in mm."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in volume.shape[:3]])).reshape(3, -1)
    mm = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    return mm.min(axis=1), mm.max(axis=1)


def require_same_space(first: Volume, second: Volume, least: float = 0.5) -> None:
    """Check that two images lie over each other in mm.

    Their grids may differ; the box of the smaller one must lie at least to the share ``least`` inside the other.

    Raises
    ------
    InputError
        With both boxes.
    """
    (a0, a1), (b0, b1) = box_of(first), box_of(second)
    common = np.clip(np.minimum(a1, b1) - np.maximum(a0, b0), 0.0, None)
    share = float(np.prod(common) / min(np.prod(a1 - a0), np.prod(b1 - b0)))
    if share < least:

        def text(low: Float, high: Float) -> str:
            return ", ".join(f"{a}={x:.0f}..{y:.0f}" for a, x, y in zip("xyz", low, high, strict=True))

        raise InputError(
            f"{second.path}: it spans {text(b0, b1)} mm, but {first.path.name} spans {text(a0, a1)} mm, so only "
            f"{100 * share:.0f} % lie over each other; give images in the same space with right affines."
        )


def hemisphere_of(name: str) -> str | None:
    """Read the hemisphere out of a region's name: ``"L"``, ``"R"`` or None.

    Examples
    --------
    >>> hemisphere_of("Insula_L"), hemisphere_of("ctx-rh-insula"), hemisphere_of("Vermis_3")
    ('L', 'R', None)
    >>> hemisphere_of("L_V1_ROI"), hemisphere_of("7Networks_RH_Vis_1"), hemisphere_of("Left-Thalamus")
    ('L', 'R', 'L')
    """
    words = name.replace("-", "_").replace(".", "_").replace(" ", "_").split("_")
    sides = {"L": "L", "LH": "L", "LEFT": "L", "R": "R", "RH": "R", "RIGHT": "R"}
    found = {sides[w.upper()] for w in words if w.upper() in sides}
    return found.pop() if len(found) == 1 else None
