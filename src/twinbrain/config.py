"""The study: one TOML file that says everything needed to repeat a piece of work.

A study is a frozen tree of tables. Its defaults are the demonstration, so an empty file is a valid study and
a file needs to name only what differs. Nothing is guessed: an unknown key, a wrong type or a value out of
range is refused with the file, the table and the key, what was found and what was expected. The parameter
table of the documentation is made from the descriptions below (:func:`parameter_table`), so that text and
behaviour cannot drift apart.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from twinbrain.config_tables import (
    AssimilationSection,
    BrainSection,
    CalibrationSection,
    ExecutionSection,
    LaminarSection,
    NetworkSection,
    RecordingSection,
    RuleSection,
    SubjectSection,
    TwinSection,
)
from twinbrain.errors import InputError, nearest

__all__ = [
    "AssimilationSection",
    "BrainSection",
    "CalibrationSection",
    "ExecutionSection",
    "LaminarSection",
    "NetworkSection",
    "RecordingSection",
    "RuleSection",
    "Study",
    "SubjectSection",
    "TwinSection",
    "check_study",
    "demo_study",
    "parameter_table",
    "read_study",
    "study_from_dict",
    "to_toml",
    "with_settings",
]

_MAX_BYTES = 1_000_000  # a study is a page of text; anything larger is not a study


class Study(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything needed to repeat a piece of work; the defaults are the demonstration.

    Examples
    --------
    >>> Study().assimilation.members
    30
    >>> Study(twin=TwinSection(neurons=1_000_000)).twin.seed
    2
    """

    subject: SubjectSection = SubjectSection()
    brain: BrainSection = BrainSection()
    network: NetworkSection = NetworkSection()
    calibration: CalibrationSection = CalibrationSection()
    assimilation: AssimilationSection = AssimilationSection()
    twin: TwinSection = TwinSection()
    recording: RecordingSection = RecordingSection()
    laminar: LaminarSection = LaminarSection()
    execution: ExecutionSection = ExecutionSection()


def demo_study() -> Study:
    """Return the study of ``twinbrain demo``: the sample person, two thalami as inputs, 200 volumes.

    Examples
    --------
    >>> demo_study() == Study()
    True
    """
    return Study()


def read_study(path: str | Path) -> Study:
    """Read and check a study.

    Parameters
    ----------
    path
        A TOML file. A relative ``subject.folder`` in it is taken relative to this file.

    Raises
    ------
    InputError
        If the file is missing, is no TOML, or holds an unknown key or an unusable value; the sentence names
        the file, the table and the key, what was found and what was expected.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "small.toml"
    ...     _ = file.write_text("[twin]\\nneurons = 9400\\n")
    ...     read_study(file).twin.neurons
    9400
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(0, f"is a folder, not a file such as {path.name}/study.toml")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; expected a study in TOML") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r}: cannot be read ({reason}); expected a study in TOML") from None
    if len(content) > _MAX_BYTES:
        raise InputError(f"{path}: has more than {_MAX_BYTES} bytes, expected a study in TOML")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not text in UTF-8 (byte {error.start}); expected a study in TOML") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not valid TOML: {error}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # integers of thousands of digits, thousands of nested brackets
        raise InputError(f"{path}: cannot be read as TOML: {_one_line(str(error))}") from None
    study = study_from_dict(data, source=str(path))
    if study.subject.folder is not None:  # so that the copy in the results folder means the same place
        places = {"folder": str((path.parent / Path(study.subject.folder).expanduser()).resolve())}
        for key in ("atlas", "labels", "connectome"):
            named = getattr(study.subject, key)
            if named is not None and (place := path.parent / Path(named).expanduser()).exists():
                places[key] = str(place.resolve())
        study = msgspec.structs.replace(study, subject=msgspec.structs.replace(study.subject, **places))
    return study


def study_from_dict(data: Mapping[str, Any], source: str = "study") -> Study:
    """Make a checked :class:`Study` of nested dictionaries (as TOML gives them).

    Parameters
    ----------
    data
        Table name -> key -> value; what is absent takes its default.
    source
        What messages name as the place of a mistake: the file.

    Raises
    ------
    InputError
        As :func:`read_study`.

    Examples
    --------
    >>> study_from_dict({"network": {"in_degre": 50}}, source="my.toml")
    Traceback (most recent call last):
    twinbrain.errors.InputError: my.toml: [network] has no key 'in_degre'; did you mean 'in_degree'?
    """
    sections: dict[str, Any] = {}
    known = typing.get_type_hints(Study)
    for table, content in data.items():
        if table not in known:
            owners = [t for t, kind in known.items() if table in kind.__struct_fields__]
            places = " or ".join(f"[{owner}]" for owner in owners)
            hint = f"; the key '{table}' belongs to {places}" if owners else nearest(table, known)
            hint = hint or "; the tables are " + ", ".join(known)
            raise InputError(f"{source}: there is no table [{_short(table, bare=True)}]{hint}")
        if not isinstance(content, Mapping):
            raise InputError(f"{source}: [{table}] is {_short(content)}, expected a table of keys")
        sections[table] = _section(known[table], content, table, source)
    study = Study(**sections)
    _check_relations(study, source)
    return study


def check_study(study: Study, source: str = "study") -> Study:
    """Check a study that was made in Python as strictly as one that was read from a file, and return it.

    Raises
    ------
    InputError
        As :func:`read_study`.

    Examples
    --------
    >>> check_study(Study(twin=TwinSection(neurons=-5)))
    Traceback (most recent call last):
    twinbrain.errors.InputError: study: twin.neurons is -5, expected a whole number of at least 1
    """
    return study_from_dict(_plain(study), source)


def with_settings(study: Study, settings: Iterable[str]) -> Study:
    """Return the study with single values replaced, as ``--set table.key=value`` does.

    Parameters
    ----------
    study
        The study to start from; it is not changed.
    settings
        ``"table.key=value"`` each; the value is TOML, or else taken as plain text.

    Raises
    ------
    InputError
        If a setting has no ``=``, names an unknown key or holds an unusable value.

    Examples
    --------
    >>> with_settings(Study(), ["twin.neurons=9400", "subject.sample=101309"]).twin.neurons
    9400
    >>> with_settings(Study(), ['network.overrides."L2/3E".g_ampa=0.001']).network.overrides
    {'L2/3E': {'g_ampa': 0.001}}
    """
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip() or "\n" in setting:
            raise InputError(f"--set {_short(setting)}: expected table.key=value, for instance twin.neurons=94000")
        study = _with_setting(study, key.strip(), value.strip())
    return study


def to_toml(study: Study) -> str:
    """Write the study as TOML text, every value spelled out; reading it gives the same study.

    Examples
    --------
    >>> to_toml(Study()).splitlines()[:3]
    ['[subject]', 'sample = "101309"', 'run = "rest"']
    """
    import tomli_w

    return tomli_w.dumps(_plain(study))


def parameter_table(study: type[Study] = Study) -> str:
    """Return every table and key of a study with type, default, unit and meaning, as Markdown.

    Examples
    --------
    >>> print(parameter_table()[:11])
    ### subject
    """
    parts = []
    tables = dict(typing.get_type_hints(study))
    for table, kind in list(tables.items()):
        for key, hint in typing.get_type_hints(kind, include_extras=True).items():
            if (inner := _struct_of(hint)) is not None:
                tables[f"{table}.{key}"] = inner
    for table, kind in tables.items():
        hints = typing.get_type_hints(kind, include_extras=True)
        lines = [
            f"### {table}",
            "",
            (kind.__doc__ or "").strip().split("\n")[0],
            "",
            "| key | type | default | unit | meaning |",
            "|---|---|---|---|---|",
        ]
        for field in msgspec.structs.fields(kind):
            meta = _meta(hints[field.name])
            default = _default(field)
            shown = "-" if default is None else f"`{_toml_value(default)}`"
            unit = (meta.extra or {}).get("unit", "") if meta else ""
            text = (meta.description or "") if meta else ""
            lines.append(f"| `{field.name}` | {_expected(hints[field.name])} | {shown} | {unit} | {text} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _with_setting(study: Study, key: str, value: str) -> Study:
    """Replace one value; text need not be quoted, so a value that does not fit as TOML is tried as text."""
    refusal: InputError | None = None
    for text in (value, json.dumps(value)):
        try:
            extra = tomllib.loads(f"{key} = {text}")
        except (ValueError, RecursionError):
            continue
        data = _plain(study)
        named = set(extra["subject"]) if isinstance(extra.get("subject"), dict) else set()
        for one, other in (("sample", "folder"), ("folder", "sample")):
            if one in named and other not in named:
                data["subject"].pop(other, None)  # naming one of the two replaces the other
        _merge(data, extra)
        try:
            return study_from_dict(data, source=f"--set {_short(f'{key}={value}', bare=True)}")
        except InputError as error:
            refusal = refusal or error
    raise refusal or InputError(f"--set {_short(key, bare=True)}: is not a table.key of a study")


def _section(kind: Any, content: Mapping[str, Any], table: str, source: str) -> Any:
    """Check one table key by key, so that the message can name the key and what it should hold."""
    hints = typing.get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for key, found in content.items():
        if key not in hints:
            hint = nearest(key, hints) or "; its keys are " + ", ".join(hints)
            raise InputError(f"{source}: [{table}] has no key '{_short(key, bare=True)}'{hint}")
        hint_type = hints[key]
        inner = _struct_of(hint_type)
        if inner is not None and isinstance(found, (list, tuple)):
            for number, item in enumerate(found, 1):
                if not isinstance(item, Mapping):
                    raise InputError(f"{source}: {table}.{key} {number} is {_short(item)}, expected a table of keys")
            values[key] = tuple(
                _section(inner, item, f"{table}.{key} {number}", source) for number, item in enumerate(found, 1)
            )
            continue
        try:
            values[key] = msgspec.convert(found, hint_type)
        except (msgspec.ValidationError, OverflowError, RecursionError):
            options = [str(o) for o in typing.get_args(_bare(hint_type))] if _is_literal(hint_type) else []
            hint = nearest(found, options) if isinstance(found, str) else ""
            raise InputError(
                f"{source}: {table}.{key} is {_short(found)}, expected {_expected(hint_type)}{hint}"
            ) from None
        if not _finite(values[key]):
            raise InputError(f"{source}: {table}.{key} is {_short(found)}, expected a finite number")
    if kind is SubjectSection and values.get("folder") is not None and "sample" not in values:
        values["sample"] = None  # naming a folder replaces the default sample
    return kind(**values)


def _check_relations(study: Study, source: str) -> None:
    """What one key alone cannot show."""
    subject, fit = study.subject, study.assimilation
    if (subject.sample is None) == (subject.folder is None):
        found = "neither" if subject.sample is None else "both"
        raise InputError(f"{source}: [subject] has {found} of 'sample' and 'folder', expected exactly one of them")
    for key in ("sample", "folder"):
        if getattr(subject, key) is not None and not getattr(subject, key).strip():
            raise InputError(f"{source}: subject.{key} is empty, expected a name or no such key")
    for table, key, count in (
        ("assimilation", "bounds", 2),
        ("network", "long_range_gain", 2),
        ("network", "canonical_shares", 3),
    ):
        numbers = getattr(getattr(study, table), key)
        if len(numbers) not in (0, count):
            raise InputError(f"{source}: {table}.{key} holds {len(numbers)} numbers, expected {count} or none")
    if fit.bounds and not fit.bounds[0] < fit.bounds[1]:
        lower, upper = fit.bounds
        raise InputError(f"{source}: assimilation.bounds is [{lower}, {upper}], expected the smaller value first")
    low, high = fit.band_hz
    if not 0 < low < high:
        raise InputError(f"{source}: assimilation.band_hz is [{low}, {high}], expected 0 < lower < upper")
    twice = sorted({name for name in fit.inputs if fit.inputs.count(name) > 1})
    if twice or "" in fit.inputs:
        found = f"'{twice[0]}' twice" if twice and twice[0] else "an empty name"
        raise InputError(f"{source}: assimilation.inputs holds {found}, expected each region's name once")
    if fit.lag >= fit.volumes:
        raise InputError(f"{source}: assimilation.lag is {fit.lag}, expected fewer than its {fit.volumes} volumes")
    steps = 1 / study.execution.dt_ms
    if abs(steps - round(steps)) > 1e-9 * steps:
        raise InputError(
            f"{source}: execution.dt_ms is {study.execution.dt_ms}, expected a step of which a whole number "
            f"makes 1 ms, for instance 1.0, 0.5 or 0.1"
        )


def _plain(study: Study) -> dict[str, Any]:
    """Nested dictionaries as TOML can hold them: no None, tuples as lists, no empty table of overrides."""
    data: dict[str, Any] = {}
    for table in study.__struct_fields__:
        section = getattr(study, table)
        hints = typing.get_type_hints(type(section), include_extras=True)
        data[table] = {}
        for key in section.__struct_fields__:
            value = getattr(section, key)
            if value is None or (key == "overrides" and not value):
                continue
            if key == "overrides":
                value = {name: dict(changes) for name, changes in value.items()}
            if value and _struct_of(hints[key]) is not None:
                value = [msgspec.to_builtins(item) for item in value]
            data[table][key] = list(value) if isinstance(value, tuple) else value
    return data


def _merge(data: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            _merge(data[key], value)
        else:
            data[key] = value


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, tuple):
        return all(_finite(v) for v in value)
    if isinstance(value, dict):
        return all(_finite(v) for v in value.values())
    return True


def _meta(hint: Any) -> Meta | None:
    return next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Meta)), None)


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(_bare(hint)) is Literal


def _struct_of(hint: Any) -> Any:
    """Return the kind of table that a list of tables holds, or None."""
    kind = _bare(hint)
    inner = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None
    return inner if isinstance(inner, type) and issubclass(inner, msgspec.Struct) else None


def _expected(hint: Any) -> str:
    """Say in words what a key may hold."""
    kind, meta = _bare(hint), _meta(hint)
    if _is_literal(hint):
        return " or ".join(f"'{option}'" for option in typing.get_args(kind))
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        word = "a whole number" if kind is int else "a number"
        if meta is None or (meta.ge is None and meta.gt is None):
            return word
        low = f"above {meta.gt:g}" if meta.gt is not None else f"of at least {meta.ge}"
        return f"{word} {low}" if meta.le is None or meta.le >= 1e6 else f"{word} {low} and at most {meta.le}"
    if kind is str or typing.get_origin(kind) in (typing.Union, types.UnionType):
        return "text" if meta is None or not meta.min_length else "text that is not empty"
    if typing.get_origin(kind) is tuple:
        arguments = typing.get_args(kind)
        if _struct_of(hint) is not None:
            return "a list of tables"
        if arguments[-1] is Ellipsis:
            return "a list of numbers" if arguments[0] is float else "a list of one or more names"
        return f"a list of {len(arguments)} numbers"
    return "a table of population = {parameter = number}"


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(value)


def _short(value: Any, bare: bool = False) -> str:
    """Show what was found on one line and within reach of the eye."""
    if isinstance(value, (dt.date, dt.time)):
        text = value.isoformat()
    elif isinstance(value, int) and abs(value) >= 10**30:
        text = "a number of more than 30 digits"  # str() of very long integers is refused by Python
    else:
        try:
            text = str(value) if bare else repr(value)
        except (ValueError, RecursionError):
            text = f"a {type(value).__name__}"
    text = {"True": "true", "False": "false"}.get(text, text)
    text = _one_line(text)
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
