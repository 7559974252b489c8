"""Where a Delta comes from: everything that it depends on, by content."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edit_lit.utilities.identity import content_hash

_PACKAGE = Path(__file__).parent.parent
_LIBRARIES = ("torch", "transformers")
_ROOMS_OF_AN_EDIT = ("utilities", "language_model", "activations", "deltas", "tuning", "editors")


@dataclass(frozen=True)
class Provenance:
    """Where a Delta comes from; a saved one is used again only if all of it but ``diagnostics`` agrees.

    Args:
        editor: The editor's class.
        options: The identities of the editor's options; a corpus, for instance, by the text that it holds.
        model: Fingerprint of the unedited model.
        tokenizer: Fingerprint of the tokenizer.
        requests: Hash of the requests.
        layers: The edited layers.
        code: Hash of the source code that computes the edit.
        versions: Versions of torch and transformers.
        diagnostics: What the editor noticed: unconverged target values, conditioning, seconds, and the like.
    """

    editor: str
    options: Mapping[str, Any]
    model: str
    tokenizer: str
    requests: str
    layers: tuple[int, ...]
    code: str = ""
    versions: Mapping[str, str] = field(default_factory=lambda: {name: version(name) for name in _LIBRARIES})
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A hash of everything that must agree for a Delta to be used again."""
        return content_hash({name: value for name, value in asdict(self).items() if name != "diagnostics"})

    def key_of(self, option: str) -> str:
        """A hash of what one option does to this model, such as the key covariance of its corpus."""
        return content_hash(self.model, self.tokenizer, self.options[option])

    def to_json(self) -> str:
        """As text, for a file's metadata."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Read what :meth:`to_json` wrote.

        Raises:
            TypeError: If it names other fields than this class has.
        """
        stored = json.loads(text)
        return cls(**{**stored, "layers": tuple(stored["layers"])})


def code_hash(cls: type) -> str:
    """Hash of the source code behind an editor: this package's, and that of its class where it lives elsewhere.

    Any change of it makes edits anew, also one that would not have mattered: an edit by older code must never pass
    for one by newer.

    Args:
        cls: The editor's class.
    """
    files = sorted(path for room in _ROOMS_OF_AN_EDIT for path in (_PACKAGE / room).rglob("*.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + path.read_bytes())
    for base in cls.__mro__:
        if base.__module__.split(".")[0] not in (_PACKAGE.name, "builtins", "abc"):
            digest.update(_source(base).encode())
    return digest.hexdigest()


def _source(cls: type) -> str:
    """The text of a class's module; of a class that was typed into a session, what its methods were compiled to."""
    module = inspect.getmodule(cls)
    try:
        if module is not None and hasattr(module, "__file__"):
            return inspect.getsource(module)
    except OSError:
        pass  # Its file is gone.
    methods = [(name, item.__code__) for name, item in vars(cls).items() if inspect.isfunction(item)]
    return repr([(name, code.co_code, code.co_consts, code.co_names) for name, code in methods])
