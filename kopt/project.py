"""Where the workbook's own files lie: kopt is used from its checkout."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
NOTEBOOKS = ROOT / "notebooks"
# an installation that many share keeps the runs of each elsewhere
RUNS = Path(os.environ.get("KOPT_RUNS", ROOT / "runs"))
