"""The parameters of the notebooks: their types and ranges, checked before any work.

papermill passes on any parameter and merely logs a name that the notebook does not have, so
notebooks, the command line and sweeps all check here.
"""

import ast
from collections.abc import Iterable
from dataclasses import replace

from IPython import get_ipython

from leankeras import parameters
from leankeras.budget import EXPECTED, Budget
from leankeras.devices import NPUS
from leankeras.errors import ParameterError
from leankeras.parameters import Parameter, suggestion
from leankeras.task import TASKS

INJECTED = "# Parameters\n"  # how papermill's cell begins

# where one is optional, None leaves the choice to the case
PARAMETERS = {
    **parameters.PARAMETERS,
    "case": Parameter(str, "a case name, FILE.py:NAME, or MODEL.keras:DATA", bool),
    "run_dir": Parameter(str, "a directory to keep the run in", bool, optional=True),
    "seed": Parameter(int, "an integer from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32),
    "quick": Parameter(bool, "True or False"),
    "fraction": replace(parameters.PARAMETERS["fraction"], optional=True),
    "epochs": replace(parameters.PARAMETERS["epochs"], optional=True),
    "task": Parameter(str, f"one of {', '.join(TASKS)}", TASKS.__contains__, optional=True),
    "chain": Parameter(str, "a JSON file of kopt search", bool, optional=True),
    "npu": Parameter(str, f"one of {', '.join(NPUS)}", NPUS.__contains__),
    "budget": Parameter(str, EXPECTED, lambda text: bool(Budget.parse(text)), optional=True),
}


def check_injected(known: Iterable[str]) -> None:
    """Refuse parameters that papermill injected under names the notebook does not have.

    Args:
        known: the notebook's parameters.

    Raises:
        ParameterError: names the unknown parameters.
    """
    shell = get_ipython()
    cells = shell.user_ns.get("In", []) if shell else []
    injected = [cell for cell in cells if cell.startswith(INJECTED)]
    if not injected:
        return
    assigned = [node for node in ast.parse(injected[-1]).body if isinstance(node, ast.Assign)]
    names = {target.id for node in assigned for target in node.targets}
    strangers = sorted(names - set(known))
    if strangers:
        raise ParameterError(
            f"{', '.join(strangers)}: not a parameter of this notebook; expected "
            f"{', '.join(sorted(known))}{suggestion(strangers[0], known)}"
        )
