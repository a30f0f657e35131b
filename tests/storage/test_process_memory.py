"""The memory of this process: its peak, and the room that limits leave it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from genrec_edge.storage.process_memory import MemoryRoom, memory_rooms, peak_mib, reset_peak

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


def system(root: Path, group: str, files: Mapping[str, str]) -> list[MemoryRoom]:
    """Return the rooms in a made file system of a machine with 8 GiB free, without those of `ulimit`."""
    status = "MemAvailable:    6291456 kB\nSwapFree:        2097152 kB\n"
    for name, text in {"proc/meminfo": status, "proc/self/status": "", "proc/self/cgroup": group, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return [room for room in memory_rooms(root) if "ulimit" not in room.name]


def v1(folder: str, limit: int, usage: int, cache: int) -> dict[str, str]:
    below = f"sys/fs/cgroup/memory{folder}"
    stat = f"cache 1\ntotal_inactive_file {cache}\ntotal_active_file 0\n"
    values = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": usage, "memory.stat": stat}
    return {f"{below}/{name}": f"{value}\n" for name, value in values.items()}


def v2(folder: str, limit: int | str, usage: int, cache: int) -> dict[str, str]:
    below = f"sys/fs/cgroup{folder}"
    stat = f"anon 5\ninactive_file {cache}\nactive_file 0\n"
    values = {"memory.max": limit, "memory.current": usage, "memory.stat": stat}
    return {f"{below}/{name}": f"{value}\n" for name, value in values.items()}


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


GROUPS: dict[str, tuple[str, dict[str, str], list[int]]] = {
    "none": ("0::/\n", {}, []),
    "v2": ("0::/a\n", v2("/a", 1000 * MIB, 300 * MIB, 100 * MIB), [800 * MIB]),
    "v2, no limit": ("0::/a\n", v2("/a", "max", 300 * MIB, 0), []),
    "v2, one above": (
        "0::/a/b\n",
        {**v2("/a/b", "max", 5, 0), **v2("/a", 500 * MIB, 100 * MIB, 0)},
        [400 * MIB],
    ),
    "v2, both": (
        "0::/a/b\n",
        {**v2("/a/b", 90 * MIB, 0, 0), **v2("/a", 500 * MIB, 100 * MIB, 0)},
        [90 * MIB, 400 * MIB],
    ),
    "v2 in a container": ("0::/docker/1234\n", v2("", 200 * MIB, 50 * MIB, 0), [150 * MIB]),
    "v1": ("9:cpu:/x\n4:memory:/a\n0::/\n", v1("/a", 300 * MIB, 200 * MIB, 50 * MIB), [150 * MIB]),
    "v1 with others": ("4:cpu,memory:/a\n", v1("/a", 300 * MIB, 400 * MIB, 50 * MIB), [-50 * MIB]),
    "v1, no limit": ("4:memory:/a\n", v1("/a", 9223372036854771712, 0, 0), []),
    "v1 in a container": ("4:memory:/docker/1234\n", v1("", 64 * MIB, 0, 0), [64 * MIB]),
    "a path with a colon": ("0::/a:b\n", v2("/a:b", 80 * MIB, 0, 0), [80 * MIB]),
    "nonsense": ("0::/a\n", v2("/a", "a lot", 0, 0), []),
}


@linux
@pytest.mark.parametrize("name", GROUPS)
def test_limits_of_control_groups_are_found(name: str, tmp_path: Path) -> None:
    group, files, expected = GROUPS[name]
    machine, *groups = system(tmp_path, group, files)
    assert machine == MemoryRoom("the machine", 8192 * MIB)
    assert [room.free_bytes for room in groups] == expected
    assert {room.name for room in groups} <= {"the memory limit of its control group"}


@linux
@pytest.mark.parametrize(("limit", "kind"), [("AS", "address space"), ("DATA", "data")])
def test_limits_of_the_shell_are_found_and_stop_what_cannot_start(limit: str, kind: str) -> None:
    program = f"""
import resource
from genrec_edge.storage.process_memory import memory_rooms, require_room_to_start
from genrec_edge.errors import OutOfMemoryError
resource.setrlimit(resource.RLIMIT_{limit}, ({1000 * MIB}, {1000 * MIB}))
room = next(room for room in memory_rooms() if "ulimit" in room.name)
assert room.kind == {kind!r} and {800 * MIB} < room.free_bytes < {1000 * MIB}, room
require_room_to_start()
resource.setrlimit(resource.RLIMIT_{limit}, ({80 * MIB}, {80 * MIB}))
try:
    require_room_to_start()
except OutOfMemoryError as e:
    print(e.message)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"the limit of `ulimit -{'v' if limit == 'AS' else 'd'}` leaves" in done.stdout
    assert "are needed to start" in done.stdout


def test_a_system_that_tells_nothing_leaves_all_the_room(tmp_path: Path) -> None:
    assert memory_rooms(tmp_path) == []


@linux
def test_threads_that_find_no_memory_for_their_stacks_are_a_lack_of_memory() -> None:
    program = f"""
import resource, sys
from genrec_edge.errors import OutOfMemoryError
from genrec_edge.engine.run_apart import run_apart
from genrec_edge.storage.process_memory import memory_rooms, require_threads
require_threads(3)
run_apart(lambda: None)  # its thread is there
resource.setrlimit(resource.RLIMIT_AS, ({3000 * MIB}, {3000 * MIB}))
require_threads(1)
for work in (lambda: require_threads(3), lambda: run_apart(lambda: require_threads(3))):
    try:
        work()
    except OutOfMemoryError as e:
        print(e.message)
"""
    shell = ["sh", "-c", 'ulimit -s 1000000 && exec "$@"', "sh", sys.executable, "-c", program]
    done = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert done.stdout == "this process may have no more threads, or no memory for their stacks\n" * 2
