"""Checks the other inputs of a job before the work begins: catalogs, test split, file types, number of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.quantization.quantize import NEEDS_IMATRIX
from genrec_edge.convert.verification import samples
from genrec_edge.convert.verification.recommendations import K
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from genrec_edge.convert.pipeline.plan import ConversionJob

_MAX_THREADS = 512  # as in genrec_edge.engine; the quantizer aborts if the system cannot start that many


def check_inputs(job: ConversionJob) -> None:
    """Check what a job reads besides base and adapters. Read-only.

    Raises:
        UsageError: `n_threads` is out of range, a file is missing, a file type needs `imatrix`, or `test` is not a test
            split.
        CatalogError: a file is not a catalog, or too small for recommendations.
    """
    if job.n_threads is not None and not 1 <= job.n_threads <= _MAX_THREADS:
        raise UsageError(f"`n_threads` must be from 1 to {_MAX_THREADS}, got {job.n_threads}")
    for name, path in (("test", job.test), ("imatrix", job.imatrix)):
        if path is not None and not path.is_file():
            raise UsageError(f"`{name}` is {path}, which is not a file", hint="check its name")
    if job.imatrix is not None:
        Catalog.open(job.imatrix).close()
    elif low_bit := [quant for quant in job.quants if quant in NEEDS_IMATRIX]:
        message = f"{', '.join(low_bit)} cannot be written without an importance matrix"
        raise UsageError(message, hint="give `imatrix`, or choose Q4_0 or a larger type")
    if job.catalog is not None and job.verify != "none":
        with Catalog.open(job.catalog) as catalog:
            samples.draw_histories(catalog, 1, K, seed=0)
            if job.test is not None:
                samples.read_split(job.test, catalog)
