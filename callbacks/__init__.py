"""Lightning callbacks: editing before the fit, watching the edits through it, and keeping the run."""

from callbacks.attribution import AttributionCallback
from callbacks.drift import DriftCallback
from callbacks.edit_retention import EditRetentionCallback
from callbacks.guards import GuardCallback
from callbacks.knowledge_edit import KnowledgeEdit
from callbacks.progress import Progress
from callbacks.run_checkpoint import RunCheckpoint
from callbacks.run_record import RunRecorder
from callbacks.run_report import RunReport

__all__ = [
    "AttributionCallback",
    "DriftCallback",
    "EditRetentionCallback",
    "GuardCallback",
    "KnowledgeEdit",
    "Progress",
    "RunCheckpoint",
    "RunRecorder",
    "RunReport",
]
