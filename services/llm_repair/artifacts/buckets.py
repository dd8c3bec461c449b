"""`s3:` references: one object or everything below a prefix."""

# pyright: reportUnknownMemberType=false
# obstore's listings have Arrow variants without types.
from __future__ import annotations

from pathlib import Path, PurePosixPath

import obstore
import rfc8785
from obstore.store import from_url

from llm_repair.artifacts.digests import digest_of
from llm_repair.artifacts.objects import storage_errors
from llm_repair.core.errors import (
    ReferenceNotFound,
    SourceChanged,
    SourceUnavailable,
    StorageUnavailable,
    UnsafeModel,
)


def bucket_digest(location: str) -> str:
    """Returns the digest of the listing at `bucket/prefix`: names, sizes and entity tags, not content.

    Raises:
      ReferenceNotFound: nothing is there.
      SourceUnavailable: the bucket cannot be reached.
    """
    listing = {name: [size, tag] for name, (size, tag) in _listed(location).items()}
    return digest_of(rfc8785.dumps(listing))  # pyright: ignore[reportArgumentType]


def fetch_bucket(location: str, expected_digest: str, into: Path) -> Path:
    """Downloads the objects at `bucket/prefix` below `into`.

    Raises:
      SourceChanged: the listing is not the expected one, before or after the download.
    """
    _expect(location, expected_digest)
    bucket, _, prefix = location.partition("/")
    names = sorted(_listed(location))
    target = into / (PurePosixPath(prefix).name or bucket)
    with storage_errors():
        for name in names:
            if ".." in name.split("/"):
                raise UnsafeModel("an object's name leads out of its folder")
            place = target if name == prefix else target / name.removeprefix(prefix).lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                for chunk in obstore.get(from_url(f"s3://{bucket}"), name).stream():
                    file.write(chunk)
    _expect(location, expected_digest)
    return target


def _expect(location: str, digest: str) -> None:
    if (found := bucket_digest(location)) != digest:
        raise SourceChanged(expected=digest, found=found)


def _listed(location: str) -> dict[str, tuple[int, str]]:
    bucket, _, prefix = location.partition("/")
    try:
        with storage_errors():
            store = from_url(f"s3://{bucket}")
            found = [meta for batch in obstore.list(store, prefix.rstrip("/") or None) for meta in batch]
            if not found and prefix:
                # Listing works by whole path segments and so leaves out the object that is named itself.
                try:
                    found = [obstore.head(store, prefix)]
                except FileNotFoundError:
                    found = []
    except StorageUnavailable as error:
        raise SourceUnavailable("the bucket could not be reached", location=location) from error
    if not found:
        raise ReferenceNotFound("the bucket has nothing at this prefix", location=location)
    return {meta["path"]: (meta["size"], meta["e_tag"] or "") for meta in found}
