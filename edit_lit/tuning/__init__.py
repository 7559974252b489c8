"""Fine-tuning strategies: what trains, and in which layers."""

from edit_lit.tuning.peft import DoRA, LoRA, PeftTuning
from edit_lit.tuning.selection import LayerSelection
from edit_lit.tuning.tuning import FullTuning, Tuning

__all__ = ["DoRA", "FullTuning", "LayerSelection", "LoRA", "PeftTuning", "Tuning"]
