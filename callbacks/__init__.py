"""Lightning callbacks: editing before the fit, and watching the edits through it."""

from callbacks.edit_retention import EditRetentionCallback
from callbacks.knowledge_edit import KnowledgeEdit
from callbacks.progress import Progress
from callbacks.run_record import RunRecorder
from callbacks.run_report import RunReport

__all__ = ["EditRetentionCallback", "KnowledgeEdit", "Progress", "RunRecorder", "RunReport"]
