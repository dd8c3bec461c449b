"""Which layout a model's batches get: packed where that gives the padded layout's numbers, else padded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from llm_repair.models.training.batches import TokenBatch, TokenisedSample, padded_batch
from llm_repair.models.training.packing import ROW_TOKENS, packed_batch
from llm_repair.models.training.readout import READOUT_TOLERANCE, continuation_log_probs, takes_positions

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers builds its configurations from untyped attributes.

Layout = Callable[[Sequence[TokenisedSample]], TokenBatch]


def layout_for(model: PreTrainedModel, samples: Sequence[TokenisedSample], *, prompt_in_loss: bool) -> Layout:
    """Returns the packed layout where the model gives the same log-probabilities under it, else the padded one.

    samples: a few, to compare on. Models with linear attention see other tokens than the mask of a packed row allows;
    models with a local window do where a row outgrows it, and then that batch alone is padded.
    """
    longest = longest_packed_row(model)
    # Rows of uneven lengths come out up to twice as long as is asked for.
    wanted = ROW_TOKENS if longest >= 2 * ROW_TOKENS else max(1, int(longest / 2))

    def padded(chosen: Sequence[TokenisedSample]) -> TokenBatch:
        return padded_batch(chosen, prompt_in_loss=prompt_in_loss)

    def fitting(chosen: Sequence[TokenisedSample]) -> TokenBatch:
        batch = packed_batch(chosen, prompt_in_loss=prompt_in_loss, row_tokens=wanted)
        return batch if batch.input_ids.shape[1] <= longest else padded(chosen)

    if longest == 0 or not takes_positions(model):
        return padded
    with torch.no_grad():
        expected = continuation_log_probs(model, padded(samples).to(model.device), gathered=False)
        found = continuation_log_probs(model, fitting(samples).to(model.device), gathered=False)
    if bool((expected - found).abs().max() > READOUT_TOLERANCE):
        return padded
    return fitting


def longest_packed_row(model: PreTrainedModel) -> float:
    """Returns how many tokens a packed row may have: without end in most models, 0 where none may be packed.

    In a packed row two tokens of a text are at least as far apart as in the text. So a local window never bites where
    the row is no longer than it. A causal mask that a model keeps as a buffer has no more columns than its context.
    """
    windows = _windows(model)
    masks = [buffer.shape[-1] for buffer in model.buffers() if buffer.dim() >= 2]
    return min([*windows, *masks], default=math.inf)


def _windows(model: PreTrainedModel) -> list[int]:
    """Returns the widths of the local windows, (0,) for a kind of attention that is not known."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or [])
    if not kinds <= {"full_attention", "sliding_attention", "global", "local"}:
        return [0]
    windows = []
    if "local" in kinds:
        windows.append(int(config.window_size))
    sliding = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if sliding and (not kinds or "sliding_attention" in kinds):
        windows.append(int(sliding))
    return windows
