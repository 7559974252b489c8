"""``python -m edit_lit``."""

from edit_lit.cli import main

if __name__ == "__main__":
    main()
