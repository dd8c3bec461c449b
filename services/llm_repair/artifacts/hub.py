# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# `datasets` has no types of its own.
"""`hf:` references: commits, model files and data sets of a Hugging Face hub."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any

from llm_repair.core.errors import DatasetInvalid, ReferenceNotAllowed, ReferenceNotFound, SourceUnavailable

MODEL_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model", "*.spm")
"""What is ever downloaded of a model: weights without code, configuration, tokenizer."""


def commit_of(repository: str, revision: str, *, is_dataset: bool, endpoint: str | None = None) -> str:
    """Returns the commit (40 hex digits) a branch, tag or commit stands for now.

    Raises:
      ReferenceNotFound: no such repository or revision.
      ReferenceNotAllowed: the repository is gated, and the machine's credential does not open it.
      SourceUnavailable: the hub cannot be reached.
    """
    from huggingface_hub import HfApi  # half a second, so only where it is needed

    with _hub_errors():
        kind = "dataset" if is_dataset else "model"
        commit = HfApi(endpoint=endpoint).repo_info(repository, revision=revision or None, repo_type=kind).sha
    if not commit:
        raise ReferenceNotFound("the hub names no commit for this revision")
    return commit


def download_model(repository: str, commit: str, into: Path, *, endpoint: str | None = None) -> Path:
    """Downloads the files of a model at a commit into a folder below `into`."""
    from huggingface_hub import snapshot_download

    folder = into / repository.rsplit("/", 1)[-1]
    with _hub_errors():
        snapshot_download(
            repository, revision=commit, local_dir=folder, allow_patterns=list(MODEL_PATTERNS), endpoint=endpoint
        )
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # book-keeping of the download
    if not any(folder.iterdir()):
        raise ReferenceNotFound("the repository has no model files")
    return folder


def download_dataset(repository: str, commit: str, into: Path, *, subset: str = "", split: str = "") -> Path:
    """Writes one split of a hub data set at a commit as JSON lines below `into` and returns the file.

    Classes are written by their names; where there are two, as in a label of a text, by 0 and 1.

    Args:
      repository: `org/name`, or a local folder laid out like one.
      commit: empty for a local folder.
      into: folder for the file and for what is downloaded on the way.
      subset: configuration; may be empty when there is only one.
      split: such as `train`; may be empty when there is only one.

    Raises:
      DatasetInvalid: subset or split is missing and there are several, or the files cannot be read.
      ReferenceNotFound, ReferenceNotAllowed, SourceUnavailable: as `commit_of`.
    """
    from datasets import DatasetDict, load_dataset
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    with _hub_errors():
        try:
            loaded: Any = load_dataset(
                repository, subset or None, revision=commit or None, cache_dir=str(into / "cache")
            )
        except DatasetNotFoundError as error:
            raise ReferenceNotFound from error
        except (ValueError, DatasetGenerationError) as error:
            raise DatasetInvalid("the hub data set cannot be read as asked", subset=subset, split=split) from error
    if isinstance(loaded, DatasetDict):
        splits = sorted(str(name) for name in loaded)
        name = split or (splits[0] if len(splits) == 1 else "")
        if name not in splits:
            raise DatasetInvalid("name one of the splits of the data set", split=split, splits=",".join(splits))
        loaded = loaded[name]
    target = into / "rows.jsonl"
    _with_class_names(loaded).to_json(str(target), lines=True, force_ascii=False)
    shutil.rmtree(into / "cache", ignore_errors=True)
    return target


def _with_class_names(rows: Any) -> Any:
    from datasets import ClassLabel

    classes = {
        column: feature.names
        for column, feature in rows.features.items()
        if isinstance(feature, ClassLabel) and len(feature.names) > 2
    }

    def named(row: dict[str, Any]) -> dict[str, str | None]:
        # A negative class, or null, is one that is not known.
        return {
            column: names[row[column]] if row[column] is not None and row[column] >= 0 else None
            for column, names in classes.items()
        }

    return rows.map(named, features=_as_texts(rows.features, classes)) if classes else rows


def _as_texts(features: Any, columns: Collection[str]) -> Any:
    from datasets import Features, Value

    return Features({name: Value("string") if name in columns else feature for name, feature in features.items()})


@contextlib.contextmanager
def _hub_errors() -> Generator[None]:
    from huggingface_hub import errors as hub

    try:
        yield
    except hub.GatedRepoError as error:
        raise ReferenceNotAllowed("the repository is gated") from error
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError, hub.HFValidationError) as error:
        raise ReferenceNotFound from error
    except hub.HfHubHTTPError as error:
        # A mirror of the hub may answer without the header from which the library tells these apart.
        match error.response.status_code:
            case 404:
                raise ReferenceNotFound from error
            case 401 | 403:
                raise ReferenceNotAllowed("the hub does not let this machine read the repository") from error
            case _:
                raise SourceUnavailable("the hub could not be reached") from error
    except (hub.OfflineModeIsEnabled, hub.LocalEntryNotFoundError) as error:
        raise SourceUnavailable("the hub could not be reached") from error
    except (ConnectionError, hub.HTTPError) as error:  # pyright: ignore[reportPrivateImportUsage]
        raise SourceUnavailable("the hub could not be reached") from error
