"""The sources of several layers in one module, where each name stands for one thing."""

import ast
import re
from collections.abc import Mapping


def join_sources(sources: Mapping[str, str]) -> str:
    """One module of several: layers that were rewritten alike share a part of it.

    The names of a part end with its number, as in ``port_2`` and ``FastGate_2``.

    Args:
        sources: what :func:`.source.print_source` gave, by the name of the layer.
    """
    if len(set(sources.values())) == 1:
        return next(iter(sources.values()))
    parts: dict[str, list[str]] = {}
    for layer, source in sources.items():
        parts.setdefault(source, []).append(layer)
    imports: set[str] = set()
    texts = []
    for number, (source, layers) in enumerate(parts.items(), 1):
        module = ast.parse(source)
        needed = [node for node in module.body if isinstance(node, ast.Import)]
        imports |= {ast.unparse(node) for node in needed}
        told = f"{', '.join(layers)}: {ast.get_docstring(module)}"
        comment = "\n".join(f"# {line}".rstrip() for line in told.splitlines())
        code = "\n".join(source.splitlines()[needed[-1].end_lineno :]).strip("\n")
        texts.append(f"{comment}\n{_numbered(code, module, number)}")
    return "\n\n\n".join(["\n".join(sorted(imports)), *texts]) + "\n"


def _numbered(code: str, module: ast.Module, number: int) -> str:
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            code = re.sub(rf"^def {node.name}\b", f"def {node.name}_{number}", code, flags=re.M)
        elif isinstance(node, ast.ClassDef):
            code = re.sub(rf"\b{node.name}\b", f"{node.name}_{number}", code)
        elif isinstance(node, ast.Assign):  # a table of numbers
            name = node.targets[0].id
            code = re.sub(rf"\b{name}\b", f"{name}_{number}", code)
    return code
