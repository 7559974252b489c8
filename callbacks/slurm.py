"""What a job of SLURM needs to be requeued and to find its run again."""

from __future__ import annotations

import logging
import os
import subprocess

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

log = logging.getLogger(__name__)


def job_id() -> str | None:
    """The number under which SLURM requeues this job; none outside of a batch job of SLURM."""
    if not SLURMEnvironment.detect():
        return None
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def was_requeued() -> bool:
    """Whether this job has run before."""
    return job_id() is not None and int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def requeue() -> None:
    """Ask SLURM to run this job again."""
    job = job_id()
    if job is None:
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
        log.info("job %s is requeued", job)
    except (OSError, subprocess.CalledProcessError) as error:
        log.warning("job %s could not be requeued (%s)", job, error)
