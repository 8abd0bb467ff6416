"""Maps: what the tensors of some program are called, how their axes are ordered, and what was done to them.

A map is a TOML file, MAP.toml, or one of those that come with the package. docs/importing.md describes it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from ..common.errors import InputError, UsageError
from ..common.file_roles import check_input
from ..common.nearest_name import unknown_name
from .axes import Axes, parse_axes, require_words
from .name_template import NameTemplate

KEYS = (
    "about",
    "file",
    "axes",
    "rope",
    "keys",
    "values",
    "queries",
    "query_positions",
    "token_ids",
    "output_projection",
    "model",
    "sample",
)
TENSOR_KEYS = ("tensor", "axes", "rope", "file")
ROPE = ("after", "before", "none")
SAMPLE_KEYS = ("decode_start", "compression_points", "spans", "token_source")
TOKEN_SOURCES = ("greedy", "sampled", "text", "synthetic")
MAX_BYTES = 2**20


@dataclass(frozen=True)
class TensorRule:
    """How one kind of tensor is found and read."""

    name: str  # of the key in the map: "keys"
    tensor: NameTemplate
    axes: Axes
    rope: str  # of ROPE
    file: NameTemplate | None  # None: the map's

    @property
    def places(self) -> set[str]:
        return self.tensor.places | ({"layer"} if "layer" in self.axes.words else set())


@dataclass(frozen=True)
class SampleRule:
    """What the map says of every sample. Negative positions count from the end."""

    decode_start: int | None = None
    compression_points: dict[str, int] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    token_source: str = "text"


@dataclass(frozen=True)
class ImportMap:
    where: str  # the file, for messages
    file: NameTemplate
    keys: TensorRule
    values: TensorRule
    queries: TensorRule | None
    query_positions: str  # "all", "last", or the name of a tensor
    token_ids: NameTemplate | None
    output_projection: TensorRule | None
    model: dict
    sample: SampleRule


def ready_maps() -> dict[str, str]:
    """The maps of the package: what each is about, by name."""
    folder = resources.files(__package__) / "maps"
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".toml"))
    return {name.removesuffix(".toml"): tomllib.loads((folder / name).read_text())["about"] for name in names}


def read_map(named: str) -> ImportMap:
    """A file, or the name of a ready map. Throws UsageError where it is neither, InputError where it is no map."""
    path = Path(named)
    if path.suffix != ".toml" and not path.exists():
        known = list(ready_maps())
        if named not in known:
            raise UsageError(f"{named}: no such file; {unknown_name('ready map', named, known)}")
        text = (resources.files(__package__) / "maps" / f"{named}.toml").read_text()
        return _parse(text, named)
    check_input(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise InputError(f"{named}: expected a map of up to {MAX_BYTES} bytes")
        return _parse(raw.decode(), named)
    except OSError as error:
        raise InputError(f"{named}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{named}: expected UTF-8: {error.reason}") from error


def _parse(text: str, where: str) -> ImportMap:
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{where}: is no TOML: {error}") from error
    _refuse_unknown(table, KEYS, where)
    for needed in ("keys", "values"):
        if needed not in table:
            raise InputError(f"{where}: expected '{needed}', the name of a tensor, found none")
    if table.get("rope", "after") not in ROPE:
        raise InputError(f"{where}: rope: {unknown_name('state', table['rope'], ROPE)}")

    def rule(name: str, wanted: tuple[str, ...], default_axes: list[str] | None = None) -> TensorRule | None:
        return _rule(table, name, wanted, default_axes, where) if name in table else None

    of_tokens = ("head", "token", "head_dim")
    keys, values, queries = (rule(name, of_tokens) for name in ("keys", "values", "queries"))
    # A file is a sample, unless the names of tensors tell samples apart.
    a_file = "*" if "sample" in keys.tensor.places else "{sample}.*"
    result = ImportMap(
        where=where,
        file=NameTemplate(_text(table, "file", where, a_file), f"{where}: file"),
        keys=keys,
        values=values,
        queries=queries,
        query_positions=_text(table, "query_positions", where, "all"),
        token_ids=NameTemplate(_text(table, "token_ids", where, ""), where) if "token_ids" in table else None,
        output_projection=rule("output_projection", ("head", "head_dim", "hidden"), ["hidden", "(q_head head_dim)"]),
        model=_table(table, "model", where),
        sample=_sample_rule(_table(table, "sample", where), f"{where}: sample"),
    )
    _check_places(result)
    return result


def _rule(table: dict, name: str, wanted: tuple[str, ...], default_axes: list[str] | None, where: str) -> TensorRule:
    own = table[name] if isinstance(table[name], dict) else {"tensor": table[name]}
    here = f"{where}: {name}"
    _refuse_unknown(own, TENSOR_KEYS, here)
    axes = own.get("axes", default_axes or table.get("axes"))
    if axes is None:
        raise InputError(f"{here}: expected 'axes', the order of its axes, found none")
    rope = own.get("rope", table.get("rope", "after"))
    if rope not in ROPE:
        raise InputError(f"{here}: rope: {unknown_name('state', rope, ROPE)}")
    parsed = parse_axes(axes, f"{here}: axes")
    require_words(parsed, wanted, f"{here}: axes")
    return TensorRule(
        name=name,
        tensor=NameTemplate(_text(own, "tensor", here, None), here),
        axes=parsed,
        rope=rope,
        file=NameTemplate(_text(own, "file", here, None), here) if "file" in own else None,
    )


def _check_places(result: ImportMap) -> None:
    """Each tensor needs a layer, from its name, its file's or an axis; and a sample is named in one place."""
    for rule in (result.keys, result.values, result.queries, result.output_projection):
        if rule is None:
            continue
        of_file = (rule.file or result.file).places
        if not ({"layer"} & (rule.places | of_file)):
            raise InputError(
                f"{result.where}: {rule.name}: expected {{layer}} in the name of the tensor or of the file, or an axis "
                "'layer', found none"
            )
        for place in ("layer", "sample"):
            if place in rule.places and place in of_file:
                raise InputError(f"{result.where}: {rule.name}: {{{place}}} stands in the tensor's name and the file's")


def _sample_rule(table: dict, where: str) -> SampleRule:
    _refuse_unknown(table, SAMPLE_KEYS, where)
    decode_start = table.get("decode_start")
    if decode_start is not None and type(decode_start) is not int:
        raise InputError(f"{where}.decode_start: expected a whole number, found {decode_start!r}")
    source = table.get("token_source", "text")
    if source not in TOKEN_SOURCES:
        raise InputError(f"{where}.token_source: {unknown_name('source', source, TOKEN_SOURCES)}")
    points = _table(table, "compression_points", where)
    for name, position in points.items():
        if type(position) is not int:
            raise InputError(f"{where}.compression_points.{name}: expected a whole number, found {position!r}")
    spans = _table(table, "spans", where)
    for name, ends in spans.items():
        if not isinstance(ends, list) or len(ends) != 2 or any(type(end) is not int for end in ends):
            raise InputError(f"{where}.spans.{name}: expected [begin, end], found {ends!r}")
    return SampleRule(decode_start, points, {name: tuple(ends) for name, ends in spans.items()}, source)


def _refuse_unknown(table: dict, known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise InputError(f"{where}: {unknown_name('key', key, known)}")


def _text(table: dict, key: str, where: str, default: str | None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or (key in table and not value):
        raise InputError(f"{where}: {key}: expected text, found {value!r}")
    return value


def _table(table: dict, key: str, where: str) -> dict:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"{where}: {key}: expected a table, found {value!r}")
    return value
