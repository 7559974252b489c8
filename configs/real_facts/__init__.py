"""A small language model that knows real facts: ``python -m real_facts.prepare`` and ``.train``, run in ``configs/``."""
