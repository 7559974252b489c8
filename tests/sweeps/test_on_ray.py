"""Jobs on a Ray of their own: each behind what it needs, its failure its own."""

from __future__ import annotations

import pytest

from edit_lit.sweeps.jobs import Job
from edit_lit.sweeps.on_ray import carry_out_all, cluster
from edit_lit.sweeps.plan import Node
from edit_lit.sweeps.status import Stage, Status
from edit_lit.sweeps.sweep_file import Resources
from edit_lit.utilities.errors import ConfigError

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


def test_a_failure_stops_what_needs_it_and_nothing_else(tmp_path):
    made = tmp_path / "made"
    made.touch()

    def job(name, *command):
        return Job(tmp_path / name, command, tmp_path, makes=made if not command else tmp_path / "never")

    nodes = {
        "refused": Node(job("refused", "fitt")),
        "fails": Node(job("fails", "--version")),
        "there": Node(job("there")),
        "needs a failure": Node(job("needs a failure", "--version"), needs="fails"),
        "needs what is there": Node(job("needs what is there"), needs="there"),
        "behind a failure": Node(job("behind a failure"), behind="refused"),
    }
    looked = []
    with cluster(None, Resources(cpus=1), cpus=1) as slots:
        assert slots == 1
        failed = carry_out_all(nodes, Resources(cpus=1), 1, lambda: looked.append(1))
        with pytest.raises(ConfigError, match=r"resources.gpus is 99, but no machine of this Ray has more than \d"):
            _in_running_cluster(Resources(gpus=99))
    assert failed.keys() == {"refused", "fails", "needs a failure"}
    assert "'fitt' is no verb" in failed["refused"]
    assert looked
    # A mistake is made once, a failure is tried again, and what needs it does not start.
    attempts = {name: Status.read(tmp_path / name).attempts for name in nodes}
    assert attempts == {name: {"refused": 1, "fails": 2}.get(name, 0) for name in nodes}
    assert Status.read(tmp_path / "needs a failure").stage is Stage.WAITING


def _in_running_cluster(resources):
    from edit_lit.sweeps import on_ray

    on_ray.check_fits(on_ray.import_ray(), resources)


def test_an_address_where_nothing_answers_is_a_mistake():
    with (
        pytest.raises(ConfigError, match="--address is 127.0.0.1:1, where no Ray answers"),
        cluster("127.0.0.1:1", Resources()),
    ):
        pass
