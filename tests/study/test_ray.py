"""The engine ray: what it refuses, and a real cluster of two machines on loopback, one of them lost in the middle."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenuto.config import preset_study
from tenuto.errors import ConfigError
from tenuto.study import journal
from tenuto.study.engines import Local, Ray, run_study
from tenuto.study.plan import Planned
from tenuto.study.stages import Job, Outcome
from tests.processes import parent, wait_for
from tests.study import small
from tests.study.small import TINY, tables

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'tenuto[ray]')"
)


class LostError(Exception):
    """Stands for `ray.exceptions.RayError`."""


class FakeRay:
    """A cluster that runs every task at once in this process; a machine is a pair of cores and GPUs.

    Args:
        machines: What each machine has.
        lost: Runs whose process Ray gives up.
        absent: Nothing answers.
    """

    exceptions = SimpleNamespace(RayError=LostError)

    def __init__(self, machines=((4, 1.0),), lost=(), absent=False):
        self.machines, self.lost, self.absent = machines, lost, absent
        self.resources: dict[str, float] = {}
        self.most = self.pending = 0
        self.stopped = False

    def init(self, **settings):
        if self.absent:
            raise ConnectionError("nobody there\nand more lines")

    def nodes(self):
        alive = [{"Alive": True, "Resources": {"CPU": cpu, "GPU": gpu}} for cpu, gpu in self.machines]
        return [*alive, {"Alive": False, "Resources": {"CPU": 1000, "GPU": 1000}}]

    def remote(self, **resources):
        self.resources = resources

        def decorate(_):
            return SimpleNamespace(remote=self._begin)

        return decorate

    def _begin(self, job):
        self.pending += 1
        self.most = max(self.most, self.pending)
        return job.planned.run

    def wait(self, pending, num_returns):
        self.pending -= 1
        return pending[-1:], pending[:-1]

    def get(self, name):
        if name in self.lost:
            raise LostError("the raylet is gone\nand more lines")
        return Outcome(name, 0.5)

    def shutdown(self):
        self.stopped = True


@pytest.fixture
def cluster(monkeypatch):
    """A function that puts a fake cluster in Ray's place."""

    def install(**settings):
        fake = FakeRay(**settings)
        monkeypatch.setitem(sys.modules, "ray", fake)
        return fake

    return install


@pytest.fixture
def jobs(tmp_path):
    return [
        Job(TINY, Planned(TINY.run.resolved(), f"A2E-{seed}-00000000"), tmp_path, None) for seed in range(5)
    ]


def test_every_job_has_its_outcome_and_ray_is_let_go(cluster, jobs):
    fake = cluster()
    assert {outcome.run for outcome in Ray().carry_out(jobs)} == {job.planned.run for job in jobs}
    assert (fake.most, fake.stopped) == (5, True)


def test_no_more_runs_at_a_time_than_asked_for(cluster, jobs):
    fake = cluster()
    assert len(list(Ray(workers=2).carry_out(jobs))) == 5
    assert fake.most == 2


def test_a_run_takes_its_threads_of_a_cpu_or_its_share_of_a_gpu(cluster, jobs):
    fake = cluster()
    list(Ray().carry_out(jobs))
    assert (fake.resources["num_cpus"], fake.resources["num_gpus"]) == (1, 0)
    list(Ray(gpus_per_run=0.25).carry_out(jobs))
    assert (fake.resources["num_cpus"], fake.resources["num_gpus"]) == (1, 0.25)


def test_a_run_that_ray_gives_up_is_a_failed_one(cluster, jobs):
    cluster(lost=("A2E-3-00000000",))
    outcomes = {outcome.run: outcome.error for outcome in Ray().carry_out(jobs)}
    assert "A2E-3-00000000: Ray lost its process 4 times (the raylet is gone)" in str(
        outcomes["A2E-3-00000000"]
    )
    assert sum(error is None for error in outcomes.values()) == 4


@pytest.mark.parametrize(
    ("machines", "gpus", "message"),
    [
        (((0, 0.0),), 0.0, "a run needs 1 CPU, the largest machine of the Ray cluster has 0"),
        (((4, 0.0),), 0.5, "a run needs 0.5 GPU, the largest machine of the Ray cluster has 0"),
        ((), 0.0, "has 0"),
    ],
)
def test_what_no_machine_could_ever_start_is_refused(cluster, jobs, machines, gpus, message):
    fake = cluster(machines=machines)
    with pytest.raises(ConfigError, match=message):
        list(Ray(gpus_per_run=gpus).carry_out(jobs))
    assert fake.stopped


def test_a_cluster_that_refuses_is_named(cluster, jobs):
    cluster(absent=True)
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at auto \(nobody there\)"):
        list(Ray(address="auto").carry_out(jobs))


@pytest.fixture
def free_port():
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "no-such-host.invalid:{}"])
def test_a_dead_address_is_refused_at_once_without_asking_ray(cluster, jobs, free_port, address):
    fake = cluster()
    fake.init = lambda **settings: pytest.fail("Ray would wait for minutes")
    begun = time.monotonic()
    with pytest.raises(ConfigError, match="no Ray cluster answers at") as caught:
        Ray(address=address.format(free_port)).carry_out(jobs)
    assert time.monotonic() - begun < 10
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n"], ids=["silent", "another protocol"])
def test_a_server_that_is_no_ray_cluster_is_refused(cluster, jobs, answer, monkeypatch):
    cluster()
    monkeypatch.setattr("tenuto.study.engines.CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, contextlib.suppress(ConnectionError):
                connection.sendall(answer)
                while connection.recv(1000):  # until the caller hangs up
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(ConfigError, match="no Ray cluster answers"):
            Ray(address=f"127.0.0.1:{server.getsockname()[1]}").carry_out(jobs)
        thread.join(10)


@pytest.mark.parametrize("address", ["head", "head:port", ":6379"])
def test_an_address_that_is_none_says_how_one_looks(cluster, jobs, address):
    cluster()
    with pytest.raises(ConfigError, match=r"an address is HOST:PORT"):
        Ray(address=address).carry_out(jobs)


def test_a_dead_address_is_refused_before_any_work(tmp_path, free_port):
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        run_study(preset_study("demo"), tmp_path / "demo", engine=Ray(address=f"127.0.0.1:{free_port}"))
    assert not (tmp_path / "demo").exists()


def test_the_address_of_the_environment_is_tried_too(cluster, jobs, free_port, monkeypatch):
    cluster()
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port}")
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        Ray().carry_out(jobs)


def test_without_ray_one_sentence_says_what_to_install(monkeypatch, jobs):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="pip install 'tenuto"):
        Ray().carry_out(jobs)


CLUSTER = """
import os
import sys
os.environ["RAY_worker_niceness"] = "0"  # others would not let the workers of so small a cluster compute
from ray.cluster_utils import Cluster

quiet = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **quiet})
second = cluster.add_node(num_cpus=1, **quiet)
raylet = second.all_processes["raylet"][0].process.pid
print("ready", cluster.address, raylet, flush=True)
for line in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""


def at_work(folder: Path, raylet: int) -> list[tuple[str, int]]:
    """Run and process of what is being trained on one machine, after its first epoch."""
    paths = (folder / "journal").glob("*-21-*.json")
    records = [journal.read(folder, path.stem) for path in paths]
    return [
        (record.name, record.pid)
        for record in records
        if record.stage == "train" and record.epoch >= 1 and parent(record.pid) == raylet
    ]


@needs_ray
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_driver_killed_and_a_node_lost_in_the_middle_change_no_table(music, tmp_path):
    study = small.changed(run={"train": {"epochs": 12, "patience": 12}})
    file = small.write_study(tmp_path / "study.yaml", study)
    script, folder = tmp_path / "cluster.py", tmp_path / "study"
    script.write_text(CLUSTER)
    cluster = small.started(script)
    try:
        assert cluster.stdout
        assert cluster.stdin
        address, raylet = next(line for line in cluster.stdout if line.startswith("ready")).split()[1:]
        options = ("--root", music, "--out", folder, "--engine", "ray", "--address", address)
        program = f"{small.UNDRAWN}; from tenuto.cli.main import main; main()"
        command = ("-c", program, "study", "run", file, *options)
        driver = small.started(*command)
        wait_for(lambda: at_work(folder, int(raylet)), driver)
        driver.kill()
        driver.communicate()
        wait_for(
            lambda: not at_work(folder, int(raylet)), cluster
        )  # Ray ends the work of a driver that is gone
        driver = small.started(*command)
        wait_for(lambda: at_work(folder, int(raylet)), driver)
        ((name, process),) = at_work(folder, int(raylet))
        cluster.stdin.write("remove\n")
        cluster.stdin.flush()
        assert next(cluster.stdout) == "removed\n"
        assert journal.read(folder, name).stage == "train"  # it was lost in the middle
        output, _ = driver.communicate(timeout=500)
    finally:
        cluster.communicate(timeout=100)
    assert driver.returncode == 0, output
    record = journal.read(folder, name)
    assert (record.stage, record.pid != process) == (journal.DONE, True)  # begun again on the other machine
    run_study(study, tmp_path / "local", music, Local(), report=lambda line: None)
    assert tables(folder) == tables(tmp_path / "local")
