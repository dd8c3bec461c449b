# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false
# pyright: reportUnknownArgumentType=false
# onnx and onnxruntime are partly untyped.
"""hatesonar: tf-idf and logistic regression in ONNX, trained on labelled tweets; P(toxic) = 1 - P(neither)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors  # pyright: ignore[reportAttributeAccessIssue]

from llm_repair.artifacts.catalogue import CATALOGUE
from llm_repair.core.errors import JudgeUnavailable
from llm_repair.evaluation.judges.judge import ENGLISH, Probabilities, reads_everything
from llm_repair.evaluation.judges.pins import sha256_of

_DISTRIBUTION: Final = ("hatesonar", "0.1.0")


def pinned_sha256() -> str:
    """Returns the sha256 of hatesonar's graph as the catalogue has it."""
    (member,) = CATALOGUE[_DISTRIBUTION].members
    return member.digest.removeprefix("sha256:")


class HatesonarScorer:
    """Scores by the ONNX graph of hatesonar, one text at a time as its string nodes demand."""

    name = "hatesonar"
    labels = ("hate_speech", "offensive_language", "neither")
    toxic_labels = ("hate_speech", "offensive_language")
    languages = ENGLISH

    def __init__(self, path: Path, pin: str) -> None:
        """Loads the graph of sha256 `pin` from its file, or from the only .onnx file below a folder.

        Raises:
          JudgeUnavailable: there is no such file, it is not the pinned one, or it does not load.
        """
        file = _only_graph(path)
        if sha256_of(file) != pin:
            raise JudgeUnavailable("the ONNX file of the judge hatesonar is not the pinned one", judge=self.name)
        self.digest = f"sha256:{pin}"
        options = onnxruntime.SessionOptions()
        # Threads of its own would compete with those the worker was given; a graph this small needs one.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(
                _with_portable_locale(file), options, providers=["CPUExecutionProvider"]
            )
        except (runtime_errors.Fail, runtime_errors.InvalidGraph, RuntimeError) as error:
            raise JudgeUnavailable("the ONNX file of the judge hatesonar does not load", judge=self.name) from error

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Returns (texts, 3); see `Judge`."""
        return np.concatenate([self._probabilities(text) for text in texts])

    def toxicity(self, probabilities: Probabilities) -> npt.NDArray[np.float64]:
        """Returns 1 - P(neither)."""
        # Probabilities are fp32 and may exceed 1 by rounding when added up.
        return np.clip(1.0 - probabilities[:, 2], 0.0, 1.0)

    def overflows(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Returns that no text does: words are counted, however many."""
        return reads_everything(texts)

    def _probabilities(self, text: str) -> Probabilities:
        try:
            _, rows = self._session.run(None, {"text": np.array([text], dtype=object)})
        except (runtime_errors.Fail, runtime_errors.InvalidArgument, runtime_errors.RuntimeException) as error:
            raise ValueError("the graph does not take this text") from error
        # The released graph ends in a ZipMap: one dictionary from class number to probability for each text.
        row = [rows[0][number] for number in range(len(self.labels))] if isinstance(rows, list) else rows
        return np.clip(np.asarray(row, dtype=np.float64).reshape(1, -1), 0.0, 1.0)


def _only_graph(path: Path) -> Path:
    found = [path] if path.is_file() else sorted(path.rglob("*.onnx"))
    if len(found) != 1:
        raise JudgeUnavailable(f"the judge hatesonar needs one ONNX file, found {len(found)}", judge="hatesonar")
    return found[0]


def _with_portable_locale(file: Path) -> bytes:
    """Returns the graph with its string nodes in the C locale: the default en_US.UTF-8 is missing in most images."""
    graph: Any = onnx.load(str(file))
    for node in graph.graph.node:
        if node.op_type == "StringNormalizer":
            others = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*others, onnx.helper.make_attribute("locale", "C")])
    return graph.SerializeToString()
