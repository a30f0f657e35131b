"""Makes the catalog data that the package ships.

    pip download --no-deps bokeh-sampledata==2026.1
    python -m genrec_edge.convert.films bokeh_sampledata-2026.1-py3-none-any.whl [OUT]

The output is the same, byte for byte, on every machine. OUT is the shipped file unless given.
"""

from __future__ import annotations

import sys
from pathlib import Path

from genrec_edge.convert.films.build import OUT_PATH, main
from genrec_edge.errors import GenRecError

if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    out_path = Path(sys.argv[2]) if len(sys.argv) > 2 else OUT_PATH
    try:
        for line in main(Path(sys.argv[1]), out_path):
            sys.stdout.write(f"{line}\n")
    except GenRecError as e:
        sys.stderr.write(f"{e}\n")
        sys.exit(e.exit_code)
