"""How the embedded model was trained: ``python -m world_model.train --output DIR``, run in ``configs/``."""
