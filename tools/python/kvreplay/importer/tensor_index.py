"""Which tensor of which file is what: keys, values and queries of each sample and layer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..common.printable import printable
from .float_arrays import FloatArray
from .import_map import ImportMap, TensorRule
from .name_template import Match, NameTemplate
from .tensor_files import TensorEntry, TensorFile, open_tensor_file

MAX_NAME = 200


@dataclass(frozen=True)
class TensorPlace:
    path: Path
    tensor: str
    entry: TensorEntry
    layer: int | None  # along the axis of layers; None: the whole tensor is of one layer

    @property
    def where(self) -> str:
        return f"{self.path}: tensor '{self.tensor}'"


@dataclass
class SampleTensors:
    name: str
    layers: dict[str, dict[int, TensorPlace]] = field(default_factory=dict)  # by the rule's name, then the layer
    token_ids: TensorPlace | None = None
    query_positions: TensorPlace | None = None


class TensorShelf:
    """The files, a few of which are open at a time; the last tensor is kept, for keys and values may share one."""

    MOST_OPEN = 8

    def __init__(self):
        self._open: OrderedDict[Path, TensorFile] = OrderedDict()
        self._last: tuple[Path, str, FloatArray] | None = None

    def __enter__(self) -> TensorShelf:
        return self

    def __exit__(self, *error) -> None:
        self._last = None
        while self._open:
            self._open.popitem()[1].close()

    def file(self, path: Path) -> TensorFile:
        if path not in self._open:
            if len(self._open) == self.MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[path] = open_tensor_file(path)
        self._open.move_to_end(path)
        return self._open[path]

    def floats(self, place: TensorPlace) -> FloatArray:
        """Throws InputError where the file is no longer what it was."""
        if self._last is None or self._last[:2] != (place.path, place.tensor):
            self._last = None  # before the next one takes memory
            file = self.file(place.path)
            self._check(file, place)
            self._last = (place.path, place.tensor, file.read_floats(place.tensor))
        return self._last[2]

    def integers(self, place: TensorPlace) -> np.ndarray:
        file = self.file(place.path)
        self._check(file, place)
        return file.read_integers(place.tensor)

    @staticmethod
    def _check(file: TensorFile, place: TensorPlace) -> None:
        if file.entries.get(place.tensor) != place.entry:
            raise InputError(f"{place.where}: the file was changed while it was read")


class TensorIndex:
    """`samples`, in the order in which they are found; `output_projection` by layer."""

    def __init__(self, rules: ImportMap, files: Sequence[Path], shelf: TensorShelf, one_sample: str):
        """`one_sample`: what a sample is called where no name tells."""
        self._rules = rules
        self._one_sample = one_sample
        self.samples: dict[str, SampleTensors] = {}
        self.output_projection: dict[int, TensorPlace] = {}
        for path in files:
            self._add_file(path, shelf)
        if not any(sample.layers for sample in self.samples.values()):
            raise InputError(self._nothing_found(files, shelf))
        self._check_complete()

    def _add_file(self, path: Path, shelf: TensorShelf) -> None:
        rules = [rule for rule in (self._rules.keys, self._rules.values, self._rules.queries) if rule]
        if self._rules.output_projection:
            rules.append(self._rules.output_projection)
        own = [(rule, (rule.file or self._rules.file).match_path(path)) for rule in rules]
        of_map = self._rules.file.match_path(path)
        if of_map is None and not any(found for _, found in own):
            raise InputError(f"{path}: its name is not like '{self._rules.file.text}', the map's `file`")
        for name, entry in shelf.file(path).entries.items():
            for rule, of_file in own:
                found = rule.tensor.match(name) if of_file else None
                if found:
                    self._add(rule, path, name, entry, found, of_file)
            if of_map:
                self._add_once("token_ids", self._rules.token_ids, path, name, entry, of_map)
                self._add_once("query_positions", self._positions, path, name, entry, of_map)

    @property
    def _positions(self) -> NameTemplate | None:
        text = self._rules.query_positions
        return None if text in ("all", "last") else NameTemplate(text, f"{self._rules.where}: query_positions")

    def _add(self, rule: TensorRule, path: Path, name: str, entry: TensorEntry, found: Match, of_file: Match) -> None:
        layer = found.layer if found.layer is not None else of_file.layer
        axis = [group == ("layer",) for group in rule.axes.groups]
        if any(axis):
            if len(entry.shape) != len(axis):
                raise InputError(f"{path}: tensor '{name}': expected {len(axis)} axes, found {list(entry.shape)}")
            stacked = entry.shape[axis.index(True)]
            if stacked > 2**20:
                raise InputError(f"{path}: tensor '{name}': expected up to 2^20 layers, found {stacked}")
            places = {index: TensorPlace(path, name, entry, index) for index in range(stacked)}
        else:
            places = {layer: TensorPlace(path, name, entry, None)}
        if rule.name == "output_projection":
            target = self.output_projection
        else:
            target = self._sample(found, of_file).layers.setdefault(rule.name, {})
        for index, place in places.items():
            if index in target:
                raise InputError(f"{place.where}: {rule.name} of layer {index} are in {target[index].where}, too")
            target[index] = place

    def _add_once(
        self, field_name: str, template: NameTemplate | None, path: Path, name: str, entry: TensorEntry, of_file: Match
    ) -> None:
        found = template.match(name) if template else None
        if found is None:
            return
        sample = self._sample(found, of_file)
        if getattr(sample, field_name) is None:  # files of several layers may each have them
            setattr(sample, field_name, TensorPlace(path, name, entry, None))

    def _sample(self, found: Match, of_file: Match) -> SampleTensors:
        name = found.sample or of_file.sample or self._one_sample
        if name not in self.samples:
            if len(name) > MAX_NAME or printable(name) != name:
                raise InputError(
                    f"sample '{printable(name[:MAX_NAME])}': expected a name of up to {MAX_NAME} characters that print"
                )
            self.samples[name] = SampleTensors(name)
        return self.samples[name]

    def _nothing_found(self, files: Sequence[Path], shelf: TensorShelf) -> str:
        names = list(shelf.file(files[0]).entries)
        shown = ", ".join(f"'{name}'" for name in names[:4]) + (", ..." if len(names) > 4 else "")
        return f"{files[0]}: no tensor is called like '{self._rules.keys.tensor.text}'; there are {shown or 'none'}"

    def _check_complete(self) -> None:
        """All layers have keys and values, and queries where any have; all samples have the same layers."""
        kinds = ["keys", "values"]
        if self._rules.queries and any("queries" in sample.layers for sample in self.samples.values()):
            kinds.append("queries")
        layers, first = None, None
        for sample in self.samples.values():
            for kind in kinds:
                found = set(sample.layers.get(kind, {}))
                if layers is None:
                    layers, first = found, f"the {kind} of sample '{sample.name}'"
                if found != layers:
                    one = min(found ^ layers)
                    have, lack = (f"the {kind} of sample '{sample.name}'", first)[:: 1 if one in found else -1]
                    rule = getattr(self._rules, kind)
                    raise InputError(
                        f"layer {one} is in {have} and not in {lack}: no tensor is called "
                        f"'{rule.tensor.filled(one, sample.name)}' there"
                        if one in layers
                        else f"layer {one} is in {have} and not in {lack}"
                    )

    @property
    def layers(self) -> list[int]:
        return sorted(next(iter(self.samples.values())).layers["keys"])

    @property
    def has_queries(self) -> bool:
        return "queries" in next(iter(self.samples.values())).layers
