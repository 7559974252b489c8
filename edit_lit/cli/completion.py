"""Completion of verbs and options in bash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SCRIPT = """\
_edit_lit() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{verbs}"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _edit_lit edit_lit
"""


def bash_completion(options: Mapping[str, Sequence[str]]) -> str:
    """A script that completes verbs, their options and, where neither fits, files.

    Args:
        options: The options of each verb.
    """
    cases = "\n".join(f'      {verb}) words="{" ".join(names)}" ;;' for verb, names in options.items())
    return _SCRIPT.format(verbs=" ".join(options), cases=cases)
