"""An optional part of the package that is not installed, told from one that is broken."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from genrec_edge.cli.output import needs_extra
from genrec_edge.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = ["genrec-edge", "convert", "--base", "no-such", "--out", "out", "--license", "MIT"]
from genrec_edge.cli import main
main()
"""


@pytest.mark.parametrize("module", ["gguf", "matplotlib"])
def test_a_missing_part_is_one_line_before_any_work(module: str, tmp_path: Path) -> None:
    """Also of those modules that only the last step loads."""
    script = BLOCKER.format(module=module)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == MissingExtraError.exit_code == 13
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {module} is not installed, which this command needs; pip install 'genrec-edge[convert]'\n"
    )


@pytest.mark.parametrize(
    ("name", "missing"),
    [("gguf", True), ("gguf.quants", True), ("ggufish", False), ("genrec_edge.convert.nothing", False), (None, False)],
)
def test_only_modules_of_the_extra_count_as_missing(name: str | None, missing: bool) -> None:
    with pytest.raises(MissingExtraError if missing else ModuleNotFoundError), needs_extra("convert"):
        raise ModuleNotFoundError(name=name)


def test_a_broken_module_is_not_a_missing_one(tmp_path: Path) -> None:
    """One of an extra that is there and lacks something of its own."""
    (tmp_path / "gguf.py").write_text("import a_module_that_is_not_there\n")
    script = BLOCKER.format(module="nothing").replace(
        "import sys\n", f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No module named 'a_module_that_is_not_there'" in done.stderr
    assert "pip install" not in done.stderr
