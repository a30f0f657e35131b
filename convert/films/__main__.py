"""Makes the catalog data that the package ships.

    pip download --no-deps bokeh-sampledata==2026.1
    python -m genrec_edge.convert.films bokeh_sampledata-2026.1-py3-none-any.whl [FILMS LIKES]

The films, and the sets of films that people liked. The output is the same, byte for byte, on every machine. FILMS and
LIKES are the shipped files unless given.
"""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

from genrec_edge.convert.films import build, likes
from genrec_edge.convert.films.build import OUT_PATH
from genrec_edge.errors import GenRecError
from genrec_edge.prior.open_likes import shipped_likes_path

if __name__ == "__main__":
    if len(sys.argv) not in {2, 4}:
        sys.exit(__doc__)
    films_path, likes_path = map(Path, sys.argv[2:]) if len(sys.argv) > 2 else (OUT_PATH, shipped_likes_path())
    try:
        for line in chain(build.main(Path(sys.argv[1]), films_path), likes.main(films_path, likes_path)):
            sys.stdout.write(f"{line}\n")
    except GenRecError as e:
        sys.stderr.write(f"{e}\n")
        sys.exit(e.exit_code)
