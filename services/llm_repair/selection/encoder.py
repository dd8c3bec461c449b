"""The encoder: a sentence-transformers folder that turns texts into vectors."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# sentence-transformers types its features as dictionaries of anything.

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers.utils import logging as transformers_logging

from llm_repair.core.errors import ModelInvalid
from llm_repair.core.evaluation import WeightFormat
from llm_repair.selection.encoder_checks import FIELD, check_encoder
from llm_repair.selection.encoder_forwards import Forward, LibraryForward, fused_forward

_LOG = logging.getLogger(__name__)

CPU_BATCH_TOKENS = 2048
"""Tokens a batch: measured with 1,024 to 8,192, which are equally fast, because a product is as fast with 500 rows as
with many; more would leave the caches, feed threads less evenly and answer a cancel later."""
ACCELERATOR_BATCH_TOKENS = 131_072
TEXTS_AT_ONCE = 1024
"""Texts handed to the tokenizer together."""

_FOREIGN_ERRORS: Final = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, ImportError, RuntimeError),
    SafetensorError,
)
"""What libraries raise on a folder that is incomplete or not what it says it is."""

_PROBES: Final = ("", "a", "The river runs past the old mill.", "one word after the other " * 60)
"""Texts that two forwards must agree on: none, short, longer, and longer than many an encoder sees."""
_AGREEMENT: Final = {WeightFormat.FLOAT32: 1e-3, WeightFormat.BFLOAT16: 0.04}
"""Largest distance of two vectors of a probe, relative to their length; 0.04 is a cosine of 0.9992."""


@dataclass(frozen=True)
class PreparedText:
    """A text as the encoder reads it."""

    payload: bytes
    """Lies on disk until the text is embedded."""
    tokens: int
    """With special tokens and the encoder's own prompt, after truncation."""
    is_truncated: bool
    """Whether the encoder sees only the beginning."""


class Encoder:
    """Embeds texts as `SentenceTransformer.encode` does.

    In fp32 to rounding (cosine above 0.99999); with bf16 matrices, whose norms, residual stream and pooling stay fp32,
    with a cosine above 0.999.
    """

    def __init__(self, folder: Path, *, weights: WeightFormat = WeightFormat.FLOAT32, fused: bool = True) -> None:
        """Loads the encoder, on the accelerator if there is one, without network and without code of the folder.

        Args:
          folder: In the format of sentence-transformers.
          weights: Of the matrices. On CPU bf16 pays where the processor multiplies it itself (AVX-512 BF16, AMX).
          fused: Takes our own forward where there is one and it agrees with the library's (the oracle).

        Raises:
          ModelInvalid: not a sentence-transformers folder, or one that cannot be loaded or embeds nothing.
          UnsafeModel: as `check_encoder`.
        """
        check_encoder(folder)
        model = _loaded(folder)
        self._tokenizer: Any = model.tokenizer
        self._prompt = model.prompts.get(model.default_prompt_name or "") or ""
        self.weights = weights
        limit = model.max_seq_length
        # Tokenizers say "no limit" by a number beyond all lengths.
        self.max_tokens: int | None = limit if limit is not None and limit < 2**31 else None
        self.on_accelerator = model.device.type != "cpu"
        self.batch_tokens = ACCELERATOR_BATCH_TOKENS if self.on_accelerator else CPU_BATCH_TOKENS
        self._forward, self.dimensions = self._chosen_forward(model, fused=fused)

    @property
    def forward(self) -> str:
        """Which code computes the vectors: `fused` or `library`."""
        return self._forward.name

    def prepare(self, texts: Sequence[str]) -> list[PreparedText]:
        """Tokenises texts."""
        return self._prepared(self._forward, texts)

    def embed(self, payloads: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Embeds one batch, (len(payloads), dimensions), normalised if the encoder's own last module does so.

        Raises:
          ModelInvalid: it fails, as where a text has more tokens than the network has positions, or the vectors are of
            another length than those of the first texts it saw.
        """
        with _refusing("the encoder fails on a batch; it may take longer texts than it has positions for"):
            vectors = self._forward.embed(payloads)
        if vectors.shape != (len(payloads), self.dimensions):
            shape = "x".join(map(str, vectors.shape))
            raise ModelInvalid(
                f"the encoder gave {shape} numbers for {len(payloads)} texts, and {self.dimensions} a text before",
                field=FIELD,
                shape=shape,
                dimensions=self.dimensions,
            )
        return vectors.cpu().numpy()

    def embed_all(
        self, batches: Iterable[Sequence[bytes]], threads: int
    ) -> Generator[npt.NDArray[np.float32], None, None]:
        """Yields the vectors of each batch, in order; close it if it is not read to the end.

        Where threads do not disturb each other every one embeds a batch of its own: at the end of a product none waits
        for the others, which on busy cores is most of the time, and the bits do not depend on how many there are.
        """
        workers = threads if self._forward.parallel else 1
        before = torch.get_num_threads()
        torch.set_num_threads(threads // workers)
        pool = ThreadPoolExecutor(workers)
        waiting: deque[Future[npt.NDArray[np.float32]]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(self.embed, batch))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)

    def _prepared(self, forward: Forward, texts: Sequence[str]) -> list[PreparedText]:
        prompted = [self._prompt + text for text in texts]
        whole = self._ids(prompted)
        most = self.max_tokens or max(map(len, whole), default=0)
        longer = [place for place, ids in enumerate(whole) if len(ids) > most]
        cut = dict(zip(longer, self._ids([prompted[place] for place in longer], most), strict=True))
        read = [cut.get(place, ids) for place, ids in enumerate(whole)]
        return [
            PreparedText(forward.payload(text, ids), len(ids), is_truncated=place in cut)
            for place, (text, ids) in enumerate(zip(texts, read, strict=True))
        ]

    def _ids(self, texts: Sequence[str], most: int | None = None) -> list[list[int]]:
        if not texts:
            return []
        return self._tokenizer(
            list(texts),
            truncation=most is not None,
            max_length=most,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]

    def _chosen_forward(self, model: SentenceTransformer, *, fused: bool) -> tuple[Forward, int]:
        """Returns the forward to use and the length of its vectors."""
        oracle = LibraryForward(model, self._prompt, WeightFormat.FLOAT32)
        candidate = fused_forward(model, self._prompt, self.weights) if fused else None
        with _refusing("the encoder loads, but cannot embed a text"):
            expected = self._probed(oracle)
            agrees = candidate is not None and _agree(self._probed(candidate), expected, _AGREEMENT[self.weights])
        if expected.ndim != 2 or not expected.shape[1]:
            raise ModelInvalid("the encoder gives vectors of no dimensions", field=FIELD)
        if candidate is not None and agrees:
            return candidate, expected.shape[1]
        if candidate is not None:
            _LOG.warning("the fused forward disagrees with the library's, which is taken")
        return LibraryForward(model, self._prompt, self.weights), expected.shape[1]

    def _probed(self, forward: Forward) -> Tensor:
        return forward.embed([text.payload for text in self._prepared(forward, _PROBES) if text.tokens])


def _loaded(folder: Path) -> SentenceTransformer:
    # A bar per loaded tensor has no place in a worker's log.
    transformers_logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with _refusing("the encoder folder cannot be loaded by sentence-transformers"):
        model = SentenceTransformer(str(folder), device=device, local_files_only=True, trust_remote_code=False).eval()
        tokenizer = model.tokenizer
    if tokenizer is None:
        raise ModelInvalid("the encoder folder has no tokenizer", field=FIELD)
    return model


@contextmanager
def _refusing(message: str) -> Generator[None]:
    """Blames what libraries raise on the encoder, save a lack of memory."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except _FOREIGN_ERRORS as error:
        raise ModelInvalid(message, field=FIELD) from error


def _agree(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    """Tells whether every vector is near; NaN is near to nothing."""
    if ours.shape != theirs.shape:
        return False
    return bool(((ours - theirs).norm(dim=1) <= tolerance * theirs.norm(dim=1)).all())
