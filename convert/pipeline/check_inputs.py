"""What else a job reads, and its numbers, looked at before hours of work begin: catalogs, test split, file types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.quantization.quantize import NEEDS_IMATRIX
from genrec_edge.convert.verification import samples
from genrec_edge.convert.verification.recommendations import K
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from genrec_edge.convert.pipeline.plan import ConversionJob

_MOST_THREADS = 512  # as in genrec_edge.engine; the quantizer aborts where the system gives it fewer than it asks for


def check_inputs(job: ConversionJob) -> None:
    """Check what a job needs beside base and adapters. Read-only.

    Raises:
        UsageError: a number out of range, a file that is not there, a file type that needs `imatrix`, or no test split.
        CatalogError: a catalog is none, or too small to compare answers.
    """
    if job.n_threads is not None and not 1 <= job.n_threads <= _MOST_THREADS:
        raise UsageError(f"{job.n_threads} threads: give a number from 1 to {_MOST_THREADS}")
    for path in (job.test, job.imatrix):
        if path is not None and not path.is_file():
            raise UsageError(f"there is no file {path}", hint="check its name")
    if job.imatrix is not None:
        Catalog.open(job.imatrix).close()
    elif coarse := [quant for quant in job.quants if quant in NEEDS_IMATRIX]:
        message = f"{', '.join(coarse)} cannot be written without an importance matrix"
        raise UsageError(message, hint="give --imatrix, or choose Q4_0 or more")
    if job.catalog is not None and job.verify != "none":
        with Catalog.open(job.catalog) as catalog:
            samples.draw_histories(catalog, 1, K, seed=0)
            if job.test is not None:
                samples.read_split(job.test, catalog)
