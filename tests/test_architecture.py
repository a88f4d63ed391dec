"""Which module may import which: the rows of CONTRIBUTING.md, checked against the imports."""

import ast
from pathlib import Path

import pytest

import leankeras
from kopt.project import ROOT

LIBRARY = Path(leankeras.__file__).parent
GROUND = [
    {"errors", "gradient_registry", "keras_faults", "modes", "startup"},
    {
        *(
            "arrays",
            "child",
            "claim",
            "digest",
            "files",
            "graph",
            "lazy",
            "parameters",
            "rows",
            "scripts",
        ),
        *("status_lines", "training_progress", "validation_part"),
    },
    {"task"},
    {"budget", "copying", "data", "kernels"},
    {"objective"},
    {"training"},
]
WINGS = [
    {"runtime"},
    {"conversion", "devices"},
    {"equivalence", "rewriting"},
    {"diagnosis", "serving"},
    {"channels", "distillation", "twin"},
    {"clustering", "pruning", "quantization"},
    {"searching"},
]
FLOORS = [*GROUND, *WINGS, {"cli"}, {"__main__", "__init__"}]
WORKBOOK = [
    {"errors", "project"},
    {"case", "parameters"},
    {"cases"},
    {"workspace", "checks"},
    {"display"},
    {"execution"},
    {"cli"},
    {"__main__", "__init__"},
]


def imports(path: Path) -> list[tuple[str, str]]:
    """``(module, name)`` of everything a file imports from the two packages."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] in PACKAGES]


PACKAGES = {"leankeras": (LIBRARY, FLOORS), "kopt": (ROOT / "kopt", WORKBOOK)}
FILES = [(name, path) for name, (folder, _) in PACKAGES.items() for path in folder.rglob("*.py")]


def room(package: str, path: Path) -> str:
    """The module or wing of the root that a file is, or is in."""
    return path.relative_to(PACKAGES[package][0]).parts[0].removesuffix(".py")


@pytest.mark.parametrize("package", list(PACKAGES))
def test_every_module_and_wing_has_its_floor(package):
    folder, floors = PACKAGES[package]
    rooms = {room(package, path) for path in folder.rglob("*.py")}
    assert rooms == set().union(*floors)


def test_a_module_imports_from_its_own_floor_and_those_above():
    wrong = []
    for package, path in FILES:
        floor = {
            name: number for number, names in enumerate(PACKAGES[package][1]) for name in names
        }
        own = room(package, path)
        for module, name in imports(path):
            root, _, rest = module.partition(".")
            target = (rest or name).split(".")[0]
            if root == package and target in floor and floor[target] > floor[own]:
                wrong.append(f"{path}: {module}")
    assert wrong == []


def test_the_library_knows_nothing_of_the_workbook():
    own = [path for package, path in FILES if package == "leankeras"]
    assert [path for path in own if any(m.startswith("kopt") for m, _ in imports(path))] == []


def test_nothing_reaches_past_the_face_of_a_wing():
    wings = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    past = []
    for package, path in FILES:
        for module, _ in imports(path):
            root, *inner = module.split(".")
            own = package == root and room(package, path) == inner[:1][0] if inner else True
            if root == "leankeras" and len(inner) > 1 and inner[0] in wings and not own:
                past.append(f"{path}: {module}")
    assert past == []


def test_one_module_knows_keras_by_its_private_names():
    private = {"_flatten_layers", "_nodes_by_depth", "_functional", "_inputs_struct"}
    private |= {"_keras_history", "_inbound_nodes", "_outbound_nodes", "_run_through_graph"}
    knowing = {
        str(path.relative_to(ROOT))
        for _, path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in private
    }
    assert knowing == {"leankeras/leankeras/graph.py"}
