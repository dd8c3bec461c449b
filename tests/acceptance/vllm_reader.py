"""Run by test_published in a process of its own: log-probabilities by plain vLLM, as JSON on the last line."""

from __future__ import annotations

import json
import os
import sys

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    folder, texts = json.loads(sys.argv[1])
    llm = LLM(
        model=folder,
        dtype="float32",
        enforce_eager=True,
        max_model_len=128,
        max_num_batched_tokens=128,
        kv_cache_memory_bytes=16 << 20,
        disable_log_stats=True,
    )
    params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in texts], params, use_tqdm=False)
    found = [
        [entry[token].logprob for entry, token in zip(out.prompt_logprobs[1:], ids[1:], strict=True)]
        for out, ids in zip(outputs, texts, strict=True)
    ]
    print("\n" + json.dumps(found))
