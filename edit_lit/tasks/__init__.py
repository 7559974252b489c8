"""What a model is fine-tuned on."""

from edit_lit.tasks.prompt_completion import PromptCompletion
from edit_lit.tasks.task import Task
from edit_lit.tasks.world_reviews import WorldReviews

__all__ = ["PromptCompletion", "Task", "WorldReviews"]
