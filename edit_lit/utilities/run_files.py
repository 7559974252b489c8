"""Names of the files in a run's folder, for those who write them and those who read them."""

from pathlib import Path

CONFIG = "config.yaml"
LAST = Path("checkpoints", "last.ckpt")
DELTA = Path("edits", "delta.safetensors")
METRICS = "metrics.csv"
