"""Print environment.yml: the locked packages, for those who work with conda.

uv run python .ci/environment.py > environment.yml
"""

import subprocess

HEAD = """\
# Made from uv.lock by .ci/environment.py; a test holds the two together.
name: kopt
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""

EXPORT = "uv export --frozen --no-dev --no-hashes --no-header --no-annotate --no-emit-workspace -q"


def environment() -> str:
    """The text of environment.yml."""
    locked = subprocess.run(EXPORT.split(), capture_output=True, text=True, check=True).stdout
    lines = [*locked.splitlines(), "-e ./leankeras", "-e ."]
    return HEAD + "".join(f'      - "{line}"\n' for line in lines)


if __name__ == "__main__":
    print(environment(), end="")
