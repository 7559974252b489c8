"""Carrying out the jobs of a sweep on Ray, which places, retries and queues them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edit_lit.sweeps.jobs import Job, JobFailedError, carry_out
from edit_lit.sweeps.plan import Node
from edit_lit.sweeps.sweep_file import Resources
from edit_lit.utilities.errors import ConfigError

_OBJECT_STORE = 100 * 1024**2  # bytes; jobs hand nothing over but that they are done
_LOOK_EVERY = 1.0


def import_ray() -> Any:
    """Ray.

    Raises:
        ConfigError: If it is not installed.
    """
    # It reports how it is used over the network, unless told otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "a sweep needs Ray, which is not installed. Install it: pip install 'edit_lit[sweep]'"
        ) from error
    return ray


@contextmanager
def cluster(address: str | None, resources: Resources, cpus: int | None = None) -> Iterator[int]:
    """Be connected to Ray: to a cluster, or to one that is started here for the length of the ``with`` block.

    Args:
        address: The cluster's address, or ``auto``; none to start one.
        resources: What a job occupies.
        cpus: Processors of this machine that a Ray started here gets; all if not given.

    Returns:
        How many jobs can run at once.

    Raises:
        ConfigError: If there is no such cluster, or none of its machines could ever run a job.
    """
    ray = import_ray()
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
    if address is None:
        options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    try:
        if address is not None and address != "auto":
            _check_answers(address)
        ray.init(address=address or "local", **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--address is {address}, where no Ray answers ({error}). Start one there, or leave it out."
        ) from error
    try:
        yield check_fits(ray, resources)
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself waits for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10):
        pass


def check_fits(ray: Any, resources: Resources) -> int:
    """How many jobs fit on the machines of the cluster together.

    Args:
        ray: Ray, connected.
        resources: What a job occupies.

    Raises:
        ConfigError: If none of the machines could ever run one.
    """
    machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
    for name, asked in (("CPU", resources.cpus), ("GPU", resources.gpus)):
        most = max((machine.get(name, 0.0) for machine in machines), default=0.0)
        if asked > most:
            raise ConfigError(
                f"resources.{name.lower()}s is {asked:g}, but no machine of this Ray has more than {most:g}. "
                "Ask for less, or name another cluster with --address."
            )
    wanted = {name: asked for name, asked in (("CPU", resources.cpus), ("GPU", resources.gpus)) if asked}
    return sum(min(int(machine.get(name, 0.0) / asked) for name, asked in wanted.items()) for machine in machines)


def carry_out_all(
    nodes: Mapping[str, Node], resources: Resources, retries: int, watch: Callable[[], object]
) -> dict[str, str]:
    """Carry out jobs, each behind those that it needs.

    Args:
        nodes: The jobs by key, each behind those that it needs.
        resources: What a job occupies while it runs.
        retries: How often a job that failed is tried again.
        watch: Called every second.

    Returns:
        Why jobs failed, by key.
    """
    ray = import_ray()
    task = ray.remote(_carry_out).options(
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        max_retries=retries,
        retry_exceptions=[JobFailedError],
    )
    ended = ray.remote(_await_end).options(num_cpus=0, max_retries=-1)
    started: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    for key, node in nodes.items():
        if node.behind is not None and node.behind not in ends:
            # In a list, a reference is handed over as it is; otherwise Ray would hand on the failure with it.
            ends[node.behind] = ended.remote([started[node.behind]])
        before = [started[node.needs]] if node.needs is not None else []
        before += [ends[node.behind]] if node.behind is not None else []
        started[key] = task.remote(node.job, *before)
    waiting = {reference: key for key, reference in started.items()}
    failed: dict[str, str] = {}
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=_LOOK_EVERY)
        for reference in done:
            key = waiting.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayError as error:
                failed[key] = _reason(error)
        watch()
    return failed


def _carry_out(job: Job, *before: None) -> None:
    """Run a job; Ray starts it once it has what is before it."""
    carry_out(job)


def _await_end(references: list[Any]) -> None:
    """Wait until a job has ended, however it ended."""
    import_ray().wait(references)


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return lines[-1] if lines else type(cause).__name__
