"""Where the workbook's own files are; kopt is used from its checkout."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
NOTEBOOKS = ROOT / "notebooks"
# in a shared installation, each user keeps runs elsewhere
RUNS = Path(os.environ.get("KOPT_RUNS", ROOT / "runs"))
