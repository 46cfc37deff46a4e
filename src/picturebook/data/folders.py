"""Pictures in folders: class folders, split folders over class folders, or any folders with a metadata file."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from picturebook.data.findings import Finding, first_names, quantity
from picturebook.data.images import EXTENSIONS, Broken, picture_bytes
from picturebook.data.metadata import FILE_NAMES, Metadata, join, read_metadata
from picturebook.data.rows import SPLIT_NAMES, ColumnOptions, Rows, check_named_columns, column_or_none, read_splits
from picturebook.errors import DataError

_HOW_TO_LABEL = (
    "Put the pictures of each class in a folder of their own, or add metadata.csv with the columns file_name and label."
)


@dataclass(frozen=True, slots=True)
class _Place:
    """What the folders of a picture say."""

    split: str
    """Name of the split folder as it is written, or ""."""
    folder: str
    """Name of the class folder, or ""."""


def picture_names(root: Path) -> tuple[list[str], list[str]]:
    """List the pictures below a folder and the folders below it, as sorted posix paths relative to it; nothing hidden."""
    pictures, folders = [], []
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        relative = PurePosixPath(Path(folder).relative_to(root).as_posix())
        folders += [str(relative / name) for name in subfolders]
        pictures += [str(relative / name) for name in files if _is_picture(name)]
    return sorted(pictures), sorted(folders)


def read_folder(root: Path, columns: ColumnOptions, metadata: str | None, *, needs_labels: bool = True) -> Rows:
    """Read pictures in folders, with the metadata beside them.

    Args:
        root: the data root.
        columns: what the metadata's columns are called.
        metadata: path of the metadata file, relative to the root; None looks for one in the root, else in its split folders.
        needs_labels: refuse pictures of which none has a label.

    Raises:
        DataError: no pictures, no labels, or the metadata cannot be used.
    """
    names, folders = picture_names(root)
    if not names:
        raise _no_pictures(root)
    table = _find_metadata(root, columns, metadata)
    source = table.name if table else str(root)
    check_named_columns(columns, table.columns if table else (), source)
    has_split_folders = _has_split_folders(names, root)
    places = {name: _place(name, has_split_folders) for name in names}
    has_labels = table is not None and table.is_filled(columns.label)
    if needs_labels and not has_labels and not any(place.folder for place in places.values()):
        raise _no_labels(root, table, columns)
    kept, findings = _join(root, names, places, table, has_labels=has_labels, needs_labels=needs_labels)
    if not has_labels:
        findings += _empty_folders(folders, has_split_folders, places)
    splits = tuple(places[name].split for name in kept)
    if table and table.is_filled(columns.split):
        splits = table.values(columns.split, kept)
    return Rows(
        names=kept,
        labels=table.values(columns.label, kept) if table and has_labels else tuple(places[name].folder for name in kept),
        texts=column_or_none(table.values(columns.text, kept)) if table else None,
        splits=column_or_none(read_splits(splits, kept, source)),
        groups=column_or_none(table.values(columns.group, kept)) if table else None,
        read=partial(_read_file, root, kept),
        findings=tuple(findings),
        columns=table.columns if table else (),
        source=source,
        stamp=stamp(root, kept),
        domains=column_or_none(table.values(columns.domain, kept)) if table else None,
        kinds=column_or_none(table.values(columns.kind, kept)) if table else None,
    )


def stamp(root: Path, names: tuple[str, ...]) -> str:
    """Hash the names, sizes and modification times of files below a folder."""
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        try:
            status = (root / name).stat()
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError as error:  # a link that leads nowhere, which reading it will tell
            state = str(error.errno)
        digest.update(f"{name}\0{state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _read_file(root: Path, names: tuple[str, ...], row: int) -> bytes:
    try:
        return picture_bytes(root / names[row])
    except OSError as error:
        raise Broken(f"a file that cannot be read ({error.strerror or error})") from error


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in EXTENSIONS


def _has_split_folders(names: list[str], root: Path) -> bool:
    folders = {name.split("/")[0] for name in names if "/" in name}
    splits = {folder for folder in folders if folder.lower() in SPLIT_NAMES}
    others = sorted(folders - splits)
    if others and len(splits) >= 2:
        raise DataError(
            f"{root} holds split folders ({', '.join(sorted(splits))}) beside other folders with pictures "
            f"({first_names(others)}): move the others away, or put every picture under a split folder."
        )
    return bool(splits) and not others


def _place(name: str, has_split_folders: bool) -> _Place:
    folders = name.split("/")[:-1]
    split = folders.pop(0) if has_split_folders and folders else ""
    return _Place(split, folders[0] if folders else "")


def _find_metadata(root: Path, columns: ColumnOptions, metadata: str | None) -> Metadata | None:
    if metadata is not None:
        path = root / metadata
        if not path.is_file():
            raise DataError(f"data.metadata: there is no file {path} (a relative path starts at data.root).")
        # The file may lie anywhere, its file names start at the root.
        return read_metadata(path, file_name=columns.file_name)
    split_folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name.lower() in SPLIT_NAMES)
    in_root = _only_metadata(root)
    if in_root:
        return read_metadata(in_root, file_name=columns.file_name)
    found = [(folder, _only_metadata(root / folder)) for folder in split_folders]
    parts = [read_metadata(path, file_name=columns.file_name, prefix=folder) for folder, path in found if path]
    return join(parts) if parts else None


def _only_metadata(folder: Path) -> Path | None:
    found = [folder / name for name in FILE_NAMES if (folder / name).is_file()]
    if len(found) > 1:
        listing = ", ".join(path.name for path in found)
        raise DataError(f"{folder} holds several metadata files ({listing}): keep one, or name it in data.metadata.")
    return found[0] if found else None


def _join(
    root: Path, names: list[str], places: dict[str, _Place], table: Metadata | None, *, has_labels: bool, needs_labels: bool
) -> tuple[tuple[str, ...], list[Finding]]:
    """Choose the pictures that are used; list the files without a row, without a folder, and the rows without a file."""
    findings: list[Finding] = []

    def note(level: str, kind: str, found: list[str]) -> None:
        if found:
            findings.append(Finding("skipped" if level == "skipped" else "warned", kind, tuple(found)))

    if table is not None:
        missing = [name for name in table.rows if name not in places]
        if len(missing) == len(table.rows):
            raise DataError(
                f"None of the {quantity(len(missing), 'file')} in {table.name} is a picture below {root} "
                f"({first_names(missing)}): file names must be relative to the metadata file's folder."
            )
        note("skipped", "in the metadata but not on disk", [name for name in missing if not _exists(root / name)])
        note("skipped", "in the metadata but no picture format that is read", [n for n in missing if _exists(root / n)])
    if table is not None and has_labels:
        note("skipped", "on disk but not in the metadata", [name for name in names if name not in table.rows])
        return tuple(name for name in names if name in table.rows), findings
    if needs_labels:
        note("skipped", "not in a class folder", [name for name in names if not places[name].folder])
        names = [name for name in names if places[name].folder]
    if table is not None:
        note("warned", "no row in the metadata, so no text", [name for name in names if name not in table.rows])
    return tuple(names), findings


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file system takes
        return False


def _empty_folders(folders: list[str], has_split_folders: bool, places: dict[str, _Place]) -> list[Finding]:
    classes = {_place(f"{folder}/x", has_split_folders).folder for folder in folders} - {""}
    empty = sorted(classes - {place.folder for place in places.values()})
    return [Finding("warned", "class folder without pictures", tuple(empty), "class")] if empty else []


def _no_pictures(root: Path) -> DataError:
    found = Counter(path.suffix.lower() or path.name for path in root.rglob("*") if path.is_file())
    other = f"its files end in {first_names(found)}" if found else "it is empty"
    return DataError(f"There are no pictures in {root}: {other}. Endings that are read: {', '.join(sorted(EXTENSIONS))}.")


def _no_labels(root: Path, table: Metadata | None, columns: ColumnOptions) -> DataError:
    if table is None:
        return DataError(f"The pictures in {root} have no labels: no class folders, no metadata file. {_HOW_TO_LABEL}")
    if columns.label in table.columns:
        missing = f"the column {columns.label!r} of {table.name} is empty in every row"
    else:
        missing = f"{table.name} has no column {columns.label!r}, only {', '.join(table.columns)}"
    return DataError(f"The pictures in {root} have no labels: {missing}, and they lie in no class folders. {_HOW_TO_LABEL}")
