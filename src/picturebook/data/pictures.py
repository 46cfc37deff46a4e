"""Pictures: a table decoded, checked and split. What everything downstream holds."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from picturebook.data.canvases import CanvasStore, open_canvases
from picturebook.data.findings import Finding, first_names, quantity
from picturebook.data.splits import SPLITS, Rows, split_rows
from picturebook.data.tables import DataOptions, Table, read_table
from picturebook.errors import DataError
from picturebook.types import UNLABELLED, Progress, no_progress


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The rows of a table that decoded, in table order."""

    names: tuple[str, ...]
    """Path relative to the data root, or "<split>/<index>"."""
    ids: Int64[np.ndarray, " pictures"]
    """64-bit hashes of the names."""
    labels: Int64[np.ndarray, " pictures"]
    """Indices into `classes`, or UNLABELLED."""
    classes: tuple[str, ...]
    """Sorted."""
    texts: tuple[str, ...] | None
    """"" where a picture has none; None where no picture has one."""
    groups: tuple[str, ...] | None
    canvases: UInt8[np.ndarray, "pictures side side 3"]
    """RGB, memory-mapped, read only: the whole picture squeezed into a square."""
    sizes: Int32[np.ndarray, "pictures 2"]
    """Original height and width, in pixels."""
    rows: dict[str, Int64[np.ndarray, " _"]]
    """"train", "val" and "test" to positions in the arrays above; unlabelled pictures are in train, or in no split."""
    fingerprint: str
    """Hash of ids, labels, classes, splits and canvases."""
    findings: tuple[Finding, ...]
    read: Callable[[int], bytes]
    """Original bytes by position."""

    def __len__(self) -> int:
        return len(self.names)


def load_pictures(
    options: DataOptions,
    *,
    cache: Path,
    text_column: str | None = None,
    to_train: bool = True,
    progress: Progress = no_progress,
) -> Pictures:
    """Read, decode (once; the second call finds the canvases in the cache), check and split.

    Args:
        options: the data.
        cache: folder of canvas stores.
        text_column: a column of texts that must be there.
        to_train: split what the data leave unsplit, and refuse what cannot be trained on. Off, only the splits that the data
            name are rows, and one class or one split is as good as many.
        progress: called with (pictures decoded, pictures in all).

    Raises:
        DataError: the data cannot be used, more than `options.max_broken_share` of the files are broken, or a class or a
            split is empty.
        TextError: a text column was asked for and is missing or empty.
    """
    table = read_table(options, text_column=text_column, to_train=to_train)
    store = open_canvases(table, side=options.canvas_size, root=options.root, cache=cache, progress=progress)
    _check_broken(table, store, options)
    return _split(table, store, options, to_train=to_train)


def _split(table: Table, store: CanvasStore, options: DataOptions, *, to_train: bool) -> Pictures:
    ids, labels = table.ids[store.rows], table.labels[store.rows]
    names = tuple(table.names[row] for row in store.rows.tolist())
    splits = _select(table.splits, store.rows)
    if to_train:
        rows = split_rows(
            ids=ids,
            labels=labels,
            classes=table.classes,
            splits=splits,
            groups=_select(table.groups, store.rows),
            clusters=store.clusters if options.split.near_duplicates else None,
            options=options.split,
        )
    else:
        named = np.array(splits or [""] * len(ids))
        rows = {name: np.flatnonzero(named == name).astype(np.int64) for name in SPLITS}
    return Pictures(
        names=names,
        ids=ids,
        labels=labels,
        classes=table.classes,
        texts=_select(table.texts, store.rows),
        groups=_select(table.groups, store.rows),
        canvases=store.canvases,
        sizes=store.sizes,
        rows=rows,
        fingerprint=_fingerprint(table, store, rows),
        findings=(*table.findings, *store.findings, *_leaks(names, labels, store.clusters, rows), *_left_out(names, rows)),
        read=partial(_read, table.read, store.rows),
    )


def _read(read: Callable[[int], bytes], rows: Int64[np.ndarray, " pictures"], position: int) -> bytes:
    return read(int(rows[position]))


def _select(values: tuple[str, ...] | None, rows: Int64[np.ndarray, " pictures"]) -> tuple[str, ...] | None:
    return None if values is None else tuple(values[row] for row in rows.tolist())


def _check_broken(table: Table, store: CanvasStore, options: DataOptions) -> None:
    """Refuse too many broken files, and a class or given split that lost all its pictures to them."""
    broken = np.setdiff1d(np.arange(len(table.names)), store.rows)
    names = [table.names[row] for row in broken.tolist()]
    share = len(broken) / len(table.names)
    if share > options.max_broken_share or not len(store.rows):
        raise DataError(
            f"{quantity(len(broken), 'file')} of {len(table.names):,} ({share:.1%}) give no picture, more than "
            f"data.max_broken_share = {options.max_broken_share:g} allows: {_broken_kinds(store, names)}. "
            "Mend or remove them, or raise the bound."
        )
    lost = set(table.labels.tolist()) - set(table.labels[store.rows].tolist()) - {UNLABELLED}
    if lost:
        classes = [table.classes[label] for label in sorted(lost)]
        files = [table.names[row] for row in broken.tolist() if table.labels[row] in lost]
        raise DataError(
            f"All pictures of {quantity(len(classes), 'class')} ({first_names(classes)}) are broken: "
            f"{_broken_kinds(store, files)}. Mend them, or remove the class."
        )
    if table.splits is not None:
        empty = set(table.splits) - set(_select(table.splits, store.rows) or ()) - {""}
        if empty:
            raise DataError(f"All pictures of the split {' and '.join(sorted(empty))} are broken: {_broken_kinds(store, names)}.")


def _broken_kinds(store: CanvasStore, names: list[str]) -> str:
    kinds = {name: finding.kind for finding in store.findings if finding.level == "skipped" for name in finding.names}
    return first_names(f"{name} ({kinds[name]})" for name in names)


def _leaks(
    names: tuple[str, ...], labels: Int64[np.ndarray, " pictures"], clusters: Int64[np.ndarray, " pictures"], rows: Rows
) -> tuple[Finding, ...]:
    """Find duplicates across splits, and duplicates with different labels."""
    findings = []
    for split in ("test", "val"):
        leaked = rows[split][np.isin(clusters[rows[split]], clusters[rows["train"]])]
        findings.append(
            Finding("warned", f"in {split}, with a near duplicate in train", tuple(names[row] for row in leaked.tolist()))
        )
    labelled = np.flatnonzero(labels != UNLABELLED)
    pairs = np.unique(np.stack([clusters[labelled], labels[labelled]], axis=1), axis=0)
    numbers, counts = np.unique(pairs[:, 0], return_counts=True)
    torn = labelled[np.isin(clusters[labelled], numbers[counts > 1])]
    findings.append(Finding("warned", "near duplicates with different labels", tuple(names[row] for row in torn.tolist())))
    return tuple(finding for finding in findings if finding.names)


def _left_out(names: tuple[str, ...], rows: Rows) -> tuple[Finding, ...]:
    left = np.setdiff1d(np.arange(len(names)), np.concatenate(list(rows.values())))
    if not len(left):
        return ()
    return (Finding("skipped", "no label, and together with val or test pictures", tuple(names[row] for row in left.tolist())),)


def _fingerprint(table: Table, store: CanvasStore, rows: Rows) -> str:
    digest = hashlib.blake2b(digest_size=16)
    parts = [table.ids[store.rows], table.labels[store.rows], *(rows[split] for split in ("train", "val", "test"))]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + np.ascontiguousarray(part).tobytes())
    digest.update("\0".join((*table.classes, store.fingerprint)).encode())
    return digest.hexdigest()
