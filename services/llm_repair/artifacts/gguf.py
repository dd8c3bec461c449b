# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' loaders are untyped.
"""Converts a GGUF file to a standard folder once: fp32 safetensors, configuration, tokenizer.

Imports torch and transformers when called, and runs in worker children only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_repair.artifacts.catalogue import TokenizerFacts
from llm_repair.core.errors import ModelInvalid, UnsafeModel

GGUF_MAGIC = b"GGUF"
_PROBE = "The"


def convert_gguf(file: Path, target: Path, facts: TokenizerFacts | None) -> None:
    """Writes the model and its tokenizer to the new folder `target`; equal files give equal folders.

    Args:
      file: the GGUF file.
      target: folder to make.
      facts: what the catalogue knows of the tokenizer; None takes what the file says.

    Raises:
      UnsafeModel: the file is not GGUF.
      ModelInvalid: transformers cannot convert this architecture, or the tokenizer does not end up as `facts` say.
    """
    with file.open("rb") as opened:
        if opened.read(4) != GGUF_MAGIC:
            raise UnsafeModel("the file is not GGUF", file=file.name)
    try:
        tokenizer = _tokenizer(file, facts)
        _save_model(file, target, tokenizer)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelInvalid("the GGUF file cannot be converted", file=file.name) from error
    tokenizer.save_pretrained(target)
    # transformers files the whole GGUF once more under this name.
    (target / "tokenizer.model").unlink(missing_ok=True)
    (target / file.name).unlink(missing_ok=True)
    _check_tokenizer(target, facts)


def _tokenizer(file: Path, facts: TokenizerFacts | None) -> Any:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    if facts is not None:
        tokenizer.eos_token, tokenizer.pad_token = facts.eos_token, facts.pad_token
        tokenizer.add_bos_token = facts.adds_bos
    return tokenizer


def _save_model(file: Path, target: Path, tokenizer: Any) -> None:
    """Moves the de-quantised weights into a plain model, since one read from GGUF counts as quantised."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    read: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, local_files_only=True, dtype=torch.float32
    )
    described = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    config = type(read.config).from_dict({**described, "_name_or_path": ""})
    _set_special_tokens(config, tokenizer)
    with torch.device("meta"):
        plain: Any = type(read)(config)
    plain.load_state_dict(read.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = read.generation_config
    _set_special_tokens(plain.generation_config, tokenizer)
    plain.save_pretrained(target)


def _set_special_tokens(config: Any, tokenizer: Any) -> None:
    config.eos_token_id = tokenizer.eos_token_id
    config.bos_token_id = tokenizer.bos_token_id
    config.pad_token_id = tokenizer.pad_token_id


def _check_tokenizer(folder: Path, facts: TokenizerFacts | None) -> None:
    """Reads the saved tokenizer back, since its class may add tokens the one in memory did not."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if facts is None:
        return
    ids = tokenizer(_PROBE)["input_ids"]
    adds_bos = ids != tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    found = TokenizerFacts(tokenizer.eos_token, tokenizer.pad_token, adds_bos)
    if found != facts:
        raise ModelInvalid("the converted tokenizer is not as the catalogue says", found=found)
