"""The law of the package: common <- recorder | importer | learning | validation | plot | parts <- api | commands, and api
<- kvpress_bridge; nobody bends sys.path."""

import ast
import unittest

from tests.support.python.paths import ROOT

PACKAGE = ROOT / "tools" / "python" / "kvreplay"
MAY_IMPORT = {
    "common": {"common"},
    "recorder": {"common", "recorder"},
    "importer": {"common", "importer"},
    "learning": {"common", "learning"},
    "validation": {"common", "validation"},
    "plot": {"common", "plot"},
    "parts": {"common", "parts"},
    "api": {"common", "recorder", "learning", "validation", "plot", "parts", "api"},
    "kvpress_bridge": {"common", "learning", "plot", "parts", "api", "kvpress_bridge"},
    "commands": {"common", "recorder", "importer", "learning", "validation", "commands"},
}


def imported_rooms(source: ast.Module, room: str | None) -> set[str]:
    """Rooms that a module's imports reach, "" for the package itself."""
    rooms = set()
    for node in ast.walk(source):
        absolute = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            absolute = [f"{node.module}.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in absolute if name.startswith("kvreplay.")}
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        if node.level == (1 if room is None else 2):
            rooms.add((node.module or "").split(".")[0])
        else:
            rooms.add(room)
    return rooms


class Architecture(unittest.TestCase):
    def test_rooms_import_along_the_arrows(self):
        n_modules = 0
        for path in PACKAGE.rglob("*.py"):
            inside = path.relative_to(PACKAGE).parts
            room = inside[0] if len(inside) > 1 else None
            if room is None:
                continue
            n_modules += 1
            found = imported_rooms(ast.parse(path.read_text()), room) - {""}
            self.assertLessEqual(found, MAY_IMPORT[room], path)
        self.assertGreater(n_modules, 40)

    def test_the_package_is_imported_by_its_name(self):
        for path in [*ROOT.glob("tools/**/*.py"), *ROOT.glob("tests/**/*.py")]:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr == "path" and isinstance(node.value, ast.Name):
                    self.assertNotEqual(node.value.id, "sys", path)

    def test_hdf5_files_are_read_through_open_inspected_alone(self):
        reading = set()
        for path in PACKAGE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "h5py.File":
                    if [ast.unparse(argument) for argument in node.args[1:]] != ["'w'"]:
                        reading.add(path.name)
        self.assertEqual(reading, {"inspected_file.py"})

    def test_no_function_has_more_than_80_lines(self):
        for path in [*ROOT.glob("tools/**/*.py"), *ROOT.glob("tests/**/*.py")]:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    self.assertLessEqual(node.end_lineno - node.lineno + 1, 80, f"{path}: {node.name}")


if __name__ == "__main__":
    unittest.main()
