"""`genrec-edge batch --engine ray`: the rows of the local engine, also when a node is killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.batch_jobs import MAIN

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]

# Two raylets as on two machines. When the first part is there, the one without the head is killed, and all it runs.
CLUSTER = """
import os, signal, sys, time
from pathlib import Path
from ray.cluster_utils import Cluster
cluster = Cluster()
cluster.add_node(num_cpus=1, object_store_memory=100 << 20, include_dashboard=False)
second = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(second, allow_graceful=False)
print("killed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


def test_ray_is_not_loaded_unless_it_is_asked_for() -> None:
    script = "import sys, genrec_edge.cli; from genrec_edge.batch import local, ray, runner; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "genrec_edge.batch.ray" in loaded
    assert {"ray", "pyarrow", "pandas"}.isdisjoint(loaded)


def test_a_node_that_is_killed_costs_no_user(
    tiny_llama: Path, tricky_path: Path, job_users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    lines = job_users.read_text().splitlines()
    users = [{**json.loads(line), "user": f"{n}/{i}"} for n, line in enumerate(lines) for i in range(3)]
    (tmp_path / "users.jsonl").write_text("".join(json.dumps(user) + "\n" for user in users))
    setup = ["--model", str(tiny_llama), "--catalog", str(tricky_path), "--workers", "2", "--threads", "1"]
    command = [sys.executable, "-c", MAIN, "batch", str(tmp_path / "users.jsonl"), *setup, "--out"]
    local, ray = tmp_path / "local.jsonl", tmp_path / "ray.jsonl"
    assert subprocess.run([*command, str(local)], check=False).returncode == 3

    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", CLUSTER], **pipes) as cluster:  # type: ignore[call-overload]
        try:
            address = cluster.stdout.readline().strip()
            job = subprocess.Popen(  # type: ignore[call-overload]
                [*command, str(ray), "--engine", "ray", "--address", address], **pipes
            )
            parts_path = tmp_path / "ray.jsonl.parts"
            while len(list(parts_path.glob("[0-9]*.jsonl"))) < 1:
                assert job.poll() is None
                time.sleep(0.01)
            cluster.stdin.write("kill\n")
            cluster.stdin.flush()
            assert cluster.stdout.readline() == "killed\n"
            assert job.poll() is None  # it was in the middle
            said, _ = job.communicate()
        finally:
            cluster.stdin.write("end\n")
            cluster.stdin.flush()
    assert job.returncode == 3
    assert "users answered" in said
    assert [json.loads(line)["user"] for line in ray.read_text().splitlines()] == [user["user"] for user in users]
    assert ray.read_bytes() == local.read_bytes()
    assert not parts_path.exists()


def test_an_address_where_nothing_is_is_one_line(
    tiny_llama: Path, tricky_path: Path, job_users: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    setup = ["--model", str(tiny_llama), "--catalog", str(tricky_path), "--address", "127.0.0.1:1"]
    command = [sys.executable, "-c", MAIN, "batch", str(job_users), *setup, "--out", str(tmp_path / "out.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: --address names a Ray cluster; set --engine to ray, too\n")
    done = subprocess.run([*command, "--engine", "ray"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "error: there is no Ray at '127.0.0.1:1'" in done.stderr
