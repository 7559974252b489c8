"""What the fine-tuning editors share: the course of an edit and the optimisation."""
