"""Data sets of the Hugging Face hub, read by `datasets`."""

from pathlib import Path
from typing import TYPE_CHECKING

from picturebook.data.findings import Finding
from picturebook.data.images import Broken, picture_bytes
from picturebook.data.metadata import as_text
from picturebook.data.rows import SPLIT_NAMES, ColumnOptions, Rows, check_named_columns, column_or_none, no_column, read_splits
from picturebook.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


def read_hub(source: str, columns: ColumnOptions, *, needs_labels: bool = True) -> Rows:
    """Read a data set of the hub, by "owner/name".

    Raises:
        DataError: it cannot be had, or lacks the image column, or a label column that is needed.
    """
    parts, findings = _known_splits(_load(source), source)
    present = tuple(dict.fromkeys(column for part in parts.values() for column in part.column_names))
    for column in (columns.image, columns.label) if needs_labels else (columns.image,):
        if column not in present:
            raise DataError(f"{no_column(column, present, source)} Set data.columns.image or data.columns.label.")
    check_named_columns(columns, present, source)
    names = tuple(f"{split}/{index}" for split, part in parts.items() for index in range(len(part)))
    splits = _column(parts, columns.split) or tuple(name.split("/")[0] for name in names)
    return Rows(
        names=names,
        labels=_column(parts, columns.label) or ("",) * len(names),
        texts=_column(parts, columns.text),
        splits=column_or_none(read_splits(splits, names, source)),
        groups=_column(parts, columns.group),
        read=_Reader({split: _images(part, columns.image, source) for split, part in parts.items()}, names),
        findings=findings,
        columns=present,
        source=source,
        stamp="",
        domains=_column(parts, columns.domain),
        kinds=_column(parts, columns.kind),
    )


def _load(source: str) -> "dict[str, Dataset]":
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError, DatasetsError

    try:
        return dict(load_dataset(source))
    except (OSError, ValueError, DatasetsError, DatasetGenerationError) as error:
        cause = error.__cause__ or error
        raise DataError(
            f"{source} cannot be read from the Hugging Face hub (and there is no such folder): {str(cause).splitlines()[0]}"
        ) from error


def _known_splits(parts: "dict[str, Dataset]", source: str) -> "tuple[dict[str, Dataset], tuple[Finding, ...]]":
    unknown = tuple(split for split in parts if split.lower() not in SPLIT_NAMES)
    known = {split: part for split, part in parts.items() if split not in unknown and len(part)}
    if not known:
        raise DataError(f"{source} has no rows in train, validation or test; its splits are {', '.join(parts) or 'none'}.")
    return known, (Finding("skipped", "none of train, validation and test", unknown, "split"),) if unknown else ()


def _column(parts: "dict[str, Dataset]", column: str) -> tuple[str, ...] | None:
    """Read a column of all splits as text; class numbers become class names. None where nothing is in it."""
    from datasets import ClassLabel

    texts: list[str] = []
    for part in parts.values():
        if column not in part.column_names:
            texts += [""] * len(part)
            continue
        values = part.select_columns([column])[:][column]
        feature = part.features[column]
        if isinstance(feature, ClassLabel):
            # -1 is the hub's way to leave a label out.
            texts += ["" if value is None or value < 0 else feature.int2str(value) for value in values]
        else:
            texts += map(as_text, values)
    return column_or_none(tuple(texts))


def _images(part: "Dataset", column: str, source: str) -> "Dataset":
    import pyarrow as pa
    from datasets import Image

    try:
        return part.select_columns([column]).cast_column(column, Image(decode=False))
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"The column {column!r} of {source} holds no pictures: expected bytes, got {part.features[column]}. "
            "Set data.columns.image."
        ) from error


class _Reader:
    """Original bytes by row."""

    def __init__(self, parts: "dict[str, Dataset]", names: tuple[str, ...]) -> None:
        self._parts = parts
        self._names = names

    def __call__(self, row: int) -> bytes:
        split, index = self._names[row].split("/")
        (image,) = self._parts[split][int(index)].values()
        if image is None:
            return b""
        data: bytes | None = image["bytes"]
        if data is not None or not image["path"]:
            return data or b""
        try:
            return picture_bytes(Path(image["path"]))
        except (OSError, ValueError) as error:  # as pictures of a folder are read
            raise Broken(f"a file that cannot be read ({getattr(error, 'strerror', None) or error})") from error
