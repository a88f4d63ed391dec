"""A workflow for GitHub Actions that converts, tries, compares and deploys a user's model."""

import json
from pathlib import Path

from leankeras.errors import ParameterError
from leankeras.files import MODEL_ENDINGS, check_place, write_text

TEMPLATE = Path(__file__).with_suffix(".yml")


def write_workflow(model: Path, data: Path, output: Path) -> Path:
    """Write the workflow; the files are named as they are in the user's repository.

    Args:
        model: a ``.keras`` or ``.h5`` in the repository, relative to its root.
        data: the ``.npz`` with samples, the same way.
        output: the ``.yml`` to write; its folder is created.

    Raises:
        ParameterError: a file is missing or outside of the repository, or the output exists.
    """
    for path, endings in ((model, MODEL_ENDINGS), (data, (".npz",))):
        if path.suffix not in endings or path.is_absolute() or ".." in path.parts:
            raise ParameterError(
                f"{path}: expected the path of a {' or '.join(endings)} inside the repository"
            )
        if not path.is_file():
            raise ParameterError(f"{path}: no such file; run this in the root of the repository")
    if output.exists():
        raise ParameterError(f"{output} exists; remove it, or choose another name with -o")
    output.parent.mkdir(parents=True, exist_ok=True)
    check_place(output, [".yml", ".yaml"])
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, path in {"@MODEL@": model, "@DATA@": data}.items():
        text = text.replace(name, json.dumps(path.as_posix()))  # JSON strings are YAML strings
    write_text(output, text)
    return output
