"""Where the workbook's own files lie: kopt is used from its checkout."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
NOTEBOOKS = ROOT / "notebooks"
RUNS = ROOT / "runs"
