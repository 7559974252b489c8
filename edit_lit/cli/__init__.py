"""The command line: Lightning's ``fit`` and ``validate``, and ``edit``, ``report`` and ``merge`` beside them.

What a verb needs is imported when it runs, so that help and mistakes come at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import edit_lit
from edit_lit.cli.messages import set_up_messages
from edit_lit.cli.mistakes import mistake_behind

PROGRAM = "python -m edit_lit"
LIGHTNING_VERBS = {
    "fit": "edit, fine-tune and watch the edits",
    "validate": "measure the downstream task",
    "edit": "edit only; write the Delta and, if asked, the edited model",
}
RULES = ("prob", "exact", "first", "token")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=edit_lit.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"edit_lit {edit_lit.__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in LIGHTNING_VERBS.items():
        # Without options of their own, so that all of them, --help included, are left for Lightning's parser.
        verbs.add_parser(verb, help=text, add_help=False, allow_abbrev=False)
    made = verbs.add_parser("report", help="figures and tables from the folders of runs", allow_abbrev=False)
    made.add_argument("runs", nargs="+", help="folders of runs, or folders that hold some")
    made.add_argument("--rule", choices=RULES, default="exact", help="success rule of the figures")
    made.add_argument("--output", help="where the comparison of several runs goes; report/ in the first folder if not")
    merged = verbs.add_parser("merge", help="several edits of one unedited model as one", allow_abbrev=False)
    merged.add_argument("deltas", nargs="+", help="files of Deltas")
    merged.add_argument("--output", default="merged.safetensors", help="where the merged Delta is written")
    return parser


def _run(args: Sequence[str] | None) -> None:
    parser = _parser()
    options, rest = parser.parse_known_args(args)
    if options.verb in LIGHTNING_VERBS:
        from edit_lit.cli.lightning_cli import run_lightning

        run_lightning(PROGRAM, [options.verb, *rest])
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    elif options.verb == "report":
        from edit_lit.cli.verbs import report

        report(options.runs, options.rule, options.output)
    else:
        from edit_lit.cli.verbs import merge

        merge(options.deltas, options.output)


def main(args: Sequence[str] | None = None) -> None:
    """Run a verb.

    Args:
        args: The command line without the program; the process's own if not given.
    """
    set_up_messages()
    try:
        _run(args)
    except KeyboardInterrupt:
        # As shells count the processes that Ctrl-C ended.
        sys.exit(130)
    except Exception as error:
        mistake = mistake_behind(error)
        if mistake is None:
            raise
        # A mistake in the options, not in the program: the message says what to do.
        sys.exit(f"error: {mistake}")
