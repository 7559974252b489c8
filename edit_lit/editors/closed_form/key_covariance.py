"""The key covariance: second moments of an MLP's keys over running text, and their eigendecomposition.

Shape legend: N size of the MLP, T tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edit_lit.language_model import LanguageModel, working_type
from edit_lit.language_model.fingerprint import model_fingerprint, tokenizer_fingerprint
from edit_lit.language_model.hooks import recorded_input
from edit_lit.language_model.module_tree import projection_shape
from edit_lit.language_model.partial_forward import run_blocks
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.records.corpora import Corpus, HubText
from edit_lit.utilities import distributed
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import WriteError, default_cache_dir
from edit_lit.utilities.finite import check_finite, is_finite
from edit_lit.utilities.identity import Identified, content_hash, identity_of
from edit_lit.utilities.locks import making
from edit_lit.utilities.progress import progress
from edit_lit.utilities.tensor_files import DamagedFileError, read_tensors, write_tensors

VERSION = 1
"""Raised when what is measured changes, so that no file of an earlier measurement passes for a new one."""

RESOLUTION = 5e-9
"""Share of a second moment's largest eigenvalue below which the others are rounding.

Products of keys are summed up in float32, whose eps is 1.2e-7. Where a corpus leaves directions unused, the
eigenvalues that should be 0 were measured to lie between -4e-9 and 4e-9 of the largest, and an edit that inverts them
differs from one machine to the next.
"""

_REMEDY = "Load the model with dtype float32; if that does not help, its weights are broken."


@dataclass(frozen=True)
class Spectrum:
    """Eigendecomposition of a layer's second moment C = E[k kᵀ], uncentred.

    Args:
        values: Eigenvalues, smallest first, [N], float64.
        vectors: Eigenvectors as columns, [N, N], float64.
        tokens: How many keys the mean was taken over.
    """

    values: Tensor
    vectors: Tensor
    tokens: int

    @classmethod
    def of(cls, moment: Tensor, tokens: int) -> Spectrum:
        """Decompose a second moment; eigenvalues that rounding made negative become zero.

        Raises:
            ConfigError: If it holds NaN or infinity.
        """
        check_finite(moment, "the second moment of the keys", _REMEDY)
        values, vectors = torch.linalg.eigh(moment.double())
        return cls(values.clamp(min=0), vectors, tokens)


@dataclass(frozen=True)
class KeyCovariance(Identified):
    """Second moments of the keys of chosen layers, measured once and kept on disk.

    All layers are measured in one pass over the corpus, which stops after the last of them. What is kept is the
    eigendecomposition, because every weight and ridge can be solved with it; a file is found again by the
    model's weights, the corpus's text and ``max_tokens``, and by nothing else. A file that is damaged or of something
    else is made again with a warning; a folder that cannot be written to costs the measurement in each run.

    Args:
        corpus: The text; ``HubText`` as it is, the Wikipedia of the published results, if not given.
        max_tokens: A longer document is cut here.
        batch_tokens: Tokens in a batch, padding included.
        cache_dir: Where the files are kept; a folder for the user's caches if not given.
    """

    # Not HubText() itself: a config that names another corpus would inherit what the two have in common, the limit.
    corpus: Corpus | None = None
    max_tokens: int = 1024
    batch_tokens: int = 8192
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        check_number("key_covariance.max_tokens", self.max_tokens, least=1)
        check_number("key_covariance.batch_tokens", self.batch_tokens, least=1)

    @property
    def text(self) -> Corpus:
        """The given corpus, or the default one."""
        return self.corpus if self.corpus is not None else HubText()

    def identity(self) -> list[str | int]:
        """Text, cut, and the version of what is measured; where it is kept and in what batches changes nothing."""
        return [self.text.identity(), self.max_tokens, VERSION]

    def spectra(
        self, language_model: LanguageModel, layers: Sequence[int], key: str | None = None
    ) -> dict[int, Spectrum]:
        """Spectra of the given layers, from disk where they are there and measured where not.

        Args:
            language_model: The model.
            layers: The layers.
            key: A hash of the model, its tokenizer and :meth:`identity`, by which files are found; made here if not
                given, at the price of reading the model and the corpus once more.

        Raises:
            ConfigError: If the corpus yields no token, or the model's keys are NaN or infinite.
        """
        key = key or self._key(language_model)
        folder = Path(self.cache_dir) if self.cache_dir else default_cache_dir() / "key_covariance"
        paths = {layer: folder / key[:24] / f"layer_{layer}.safetensors" for layer in sorted(layers)}
        fields = {layer: _fields(layer, key) for layer in layers}
        with ExitStack() as stack:
            for path in paths.values() if distributed.rank() == 0 else ():
                # In the layers' order, so that no two processes wait for each other.
                stack.enter_context(making(path, "the key covariance"))
            return self._spectra(language_model, paths, fields)

    def _spectra(
        self, language_model: LanguageModel, paths: Mapping[int, Path], fields: Mapping[int, Mapping[str, str]]
    ) -> dict[int, Spectrum]:
        layers, device = list(paths), language_model.device
        found = {layer: spectrum for layer in layers if (spectrum := _read(paths[layer], fields[layer], device))}
        # What one process lacks all measure, or some would wait for others that have nothing to do.
        lacking = distributed.from_all_processes([layer for layer in layers if layer not in found])
        missing = sorted({layer for of_process in lacking for layer in of_process})
        if missing:
            for layer, moment in self._measure(language_model, self._rows(language_model), missing).items():
                found[layer] = Spectrum.of(*moment)
                if distributed.rank() == 0:
                    _keep(found[layer], paths[layer], fields[layer])
        return {layer: found[layer] for layer in layers}

    def _key(self, language_model: LanguageModel) -> str:
        model, tokenizer = language_model.model, language_model.tokenizer
        return content_hash(model_fingerprint(model), tokenizer_fingerprint(tokenizer), identity_of(self))

    def _rows(self, language_model: LanguageModel) -> list[list[int]]:
        texts = list(self.text.documents())
        if not texts:
            raise ConfigError(
                "the corpus of the second moments yields no text. Name another one in key_covariance.corpus."
            )
        encoded = language_model.tokenizer(texts, return_attention_mask=False)["input_ids"]
        return [ids[: self.max_tokens] for ids in encoded if ids]

    @torch.no_grad()
    def _measure(
        self, language_model: LanguageModel, rows: list[list[int]], layers: Sequence[int]
    ) -> dict[int, tuple[Tensor, int]]:
        """Second moment [N, N] and token count of each layer, in one pass."""
        device = language_model.device
        modules = {layer: language_model.output_projection(layer) for layer in layers}
        sums = {layer: _zeros(projection_shape(module)[1], device) for layer, module in modules.items()}
        tokens = torch.zeros(1, dtype=torch.float64, device=device)
        batches = length_batches([len(row) for row in rows], self.batch_tokens)
        for batch in progress(distributed.shard(batches), "second moments", "batches"):
            inputs = TokenBatch.of([rows[index] for index in batch], device)
            with ExitStack() as stack:
                records = {layer: stack.enter_context(recorded_input(module)) for layer, module in modules.items()}
                run_blocks(language_model, inputs, stop_after=max(layers))
            real = inputs.mask.bool()
            tokens += real.sum()
            for layer, record in records.items():
                keys_TN = record.take(inputs)[real]
                keys_TN = keys_TN.to(working_type(keys_TN))
                sums[layer] += keys_TN.T @ keys_TN
        count = int(distributed.sum_over_processes(tokens))
        moments = {layer: distributed.sum_over_processes(total) / count for layer, total in sums.items()}
        for layer, moment in moments.items():
            check_finite(moment, f"the key covariance of layer {layer}", _REMEDY)
        return {layer: (moment, count) for layer, moment in moments.items()}


def _zeros(size: int, device: torch.device) -> Tensor:
    return torch.zeros(size, size, dtype=torch.float64, device=device)


def _fields(layer: int, key: str) -> dict[str, str]:
    """What a file must say of itself."""
    return {"kind": "key covariance", "version": str(VERSION), "layer": str(layer), "model_or_corpus": key}


def _read(path: Path, fields: Mapping[str, str], device: torch.device) -> Spectrum | None:
    """The spectrum in a file, or nothing, with a warning, if the file is damaged or of something else."""
    try:
        tensors, stored = read_tensors(path, fields)
        if not all(map(is_finite, tensors.values())):
            raise DamagedFileError("it holds NaN or infinity")
        return Spectrum(tensors["values"].to(device), tensors["vectors"].to(device), int(stored["tokens"]))
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        if distributed.rank() == 0:
            warnings.warn(f"the key covariance in {path} is measured again: {error}.", stacklevel=3)
        return None


def _keep(spectrum: Spectrum, path: Path, fields: Mapping[str, str]) -> None:
    """Write a spectrum; where that fails it is used all the same."""
    tensors = {"values": spectrum.values, "vectors": spectrum.vectors}
    try:
        write_tensors(path, tensors, {**fields, "tokens": str(spectrum.tokens)})
    except WriteError as error:
        warnings.warn(f"this key covariance is not kept for other runs: {error}", stacklevel=3)
