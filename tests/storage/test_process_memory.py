"""The peak memory of this process."""

from __future__ import annotations

import sys

import pytest

from genrec_edge.storage.process_memory import peak_mib, reset_peak


def test_the_peak_grows_with_what_is_held() -> None:
    before = peak_mib()
    if before is None:
        pytest.skip("this system does not count it")
    held = bytearray(b"x") * (64 << 20)
    after = peak_mib()
    assert after is not None
    assert after >= before
    assert after > 64
    del held


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
def test_the_peak_can_be_reset() -> None:
    held = bytearray(b"x") * (256 << 20)
    before = peak_mib()
    del held
    reset_peak()
    after = peak_mib()
    assert before is not None
    assert after is not None
    assert after <= before
