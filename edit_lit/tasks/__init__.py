"""Downstream tasks: what a model is fine-tuned on, and how it is scored there."""

from edit_lit.tasks.columns import Columns
from edit_lit.tasks.fact_statements import FactStatements
from edit_lit.tasks.gsm8k import Gsm8k
from edit_lit.tasks.hotpot_qa import HotpotQa
from edit_lit.tasks.instructions import Instructions
from edit_lit.tasks.prompt_templates import Alpaca, Chat, Plain, PromptTemplate, QuestionAnswer
from edit_lit.tasks.running_text import RunningText
from edit_lit.tasks.scorers import ChoiceLikelihood, ExtractedChoice, FinalNumber, Scorer, ShortAnswer
from edit_lit.tasks.sst2 import Sst2
from edit_lit.tasks.task import Task

__all__ = [
    "Alpaca",
    "Chat",
    "ChoiceLikelihood",
    "Columns",
    "ExtractedChoice",
    "FactStatements",
    "FinalNumber",
    "Gsm8k",
    "HotpotQa",
    "Instructions",
    "Plain",
    "PromptTemplate",
    "QuestionAnswer",
    "RunningText",
    "Scorer",
    "ShortAnswer",
    "Sst2",
    "Task",
]
