"""Pictures: a table decoded, checked and split. What everything downstream holds."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from picturebook.data.canvases import CanvasStore, open_canvases
from picturebook.data.findings import Finding, first_names, quantity
from picturebook.data.on_demand import DecodedOnDemand
from picturebook.data.splits import SPLITS, Rows, split_rows
from picturebook.data.supervision import supervise
from picturebook.data.tables import DataOptions, Table, read_table
from picturebook.data.units import number_units
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
    """Indices into `classes`, or UNLABELLED; in train, what data.supervision leaves of them."""
    classes: tuple[str, ...]
    """Sorted."""
    texts: tuple[str, ...] | None
    """"" where a picture has none; None where no picture has one."""
    groups: tuple[str, ...] | None
    canvases: UInt8[np.ndarray, "pictures side side 3"] | DecodedOnDemand
    """RGB, memory-mapped, read only: the whole picture squeezed into a square. Past data.canvas_budget_gb decoded on demand."""
    sizes: Int32[np.ndarray, "pictures 2"]
    """Original height and width, in pixels."""
    rows: dict[str, Int64[np.ndarray, " _"]]
    """"train", "val" and "test" to positions in the arrays above; unlabelled pictures are in train, or in no split."""
    fingerprint: str
    """Hash of ids, labels, classes, splits and canvases."""
    findings: tuple[Finding, ...]
    read: Callable[[int], bytes]
    """Original bytes by position."""
    clusters: Int64[np.ndarray, " pictures"] | None = None
    """Numbers of the near-duplicate clusters that are kept together; None where the settings keep none."""
    canvas_fingerprint: str = ""
    """Hash of the canvases alone, for what does not depend on labels and splits."""
    domains: tuple[str, ...] | None = None
    """Where or how each picture was made; None where the data do not say it."""
    kinds: tuple[str, ...] | None = None
    """What each picture's text may know, as whoever made it noted it; None where the data do not say it."""

    def __len__(self) -> int:
        return len(self.names)

    def expect(self, rows: Int64[np.ndarray, " rows"]) -> None:
        """Say whose canvases will be asked for next, so that they are decoded meanwhile where none are kept."""
        if isinstance(self.canvases, DecodedOnDemand):
            self.canvases.expect(rows)


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
    table = read_table(options, text_column=text_column, to_train=to_train, cache=cache)
    store = open_canvases(
        table,
        side=options.canvas_size,
        root=options.root,
        cache=cache,
        budget=options.canvas_budget_gb * 1e9,
        progress=progress,
    )
    _check_broken(table, store, options)
    return _split(table, store, options, to_train=to_train)


def _split(table: Table, store: CanvasStore, options: DataOptions, *, to_train: bool) -> Pictures:
    read = _selected(table, store, options)
    splits = _select(table.splits, store.rows)
    if to_train:
        divided = _supervised(_divided(read, splits, options), options)
    else:
        named = np.array(splits or [""] * len(read))
        divided = replace(read, rows={name: np.flatnonzero(named == name).astype(np.int64) for name in SPLITS})
    findings = (*divided.findings, *_leaks(read, store.clusters, divided.rows))
    return replace(divided, findings=findings, fingerprint=_fingerprint(divided, store))


def _selected(table: Table, store: CanvasStore, options: DataOptions) -> Pictures:
    """Take the rows that decoded, with their true labels, in no split yet."""
    return Pictures(
        names=tuple(table.names[row] for row in store.rows.tolist()),
        ids=table.ids[store.rows],
        labels=table.labels[store.rows],
        classes=table.classes,
        texts=_select(table.texts, store.rows),
        groups=_select(table.groups, store.rows),
        canvases=store.canvases,
        sizes=store.sizes,
        rows={},
        fingerprint="",
        findings=(*table.findings, *store.findings),
        read=partial(_read, table.read, store.rows),
        clusters=store.clusters if options.split.near_duplicates else None,
        canvas_fingerprint=store.fingerprint,
        domains=_select(table.domains, store.rows),
        kinds=_select(table.kinds, store.rows),
    )


def _divided(read: Pictures, splits: tuple[str, ...] | None, options: DataOptions) -> Pictures:
    rows = split_rows(
        ids=read.ids,
        labels=read.labels,
        classes=read.classes,
        splits=splits,
        groups=read.groups,
        clusters=read.clusters,
        options=options.split,
        domains=read.domains,
    )
    return replace(read, rows=rows, findings=(*read.findings, *_left_out(read, rows, options.split.held_out)))


def _supervised(divided: Pictures, options: DataOptions) -> Pictures:
    """Withhold and replace training labels; the true ones go no further than this."""
    known = supervise(
        options.supervision,
        ids=divided.ids,
        labels=divided.labels,
        units=number_units(divided.ids, divided.groups, divided.clusters),
        train=divided.rows["train"],
        names=divided.names,
        classes=divided.classes,
    )
    rows = divided.rows | {"train": known.train}
    return replace(divided, labels=known.labels, rows=rows, findings=(*divided.findings, *known.findings))


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


def _leaks(read: Pictures, clusters: Int64[np.ndarray, " pictures"], rows: Rows) -> tuple[Finding, ...]:
    """Find duplicates across splits, and duplicates with different labels."""
    findings = []
    for split in ("test", "val"):
        leaked = rows[split][np.isin(clusters[rows[split]], clusters[rows["train"]])]
        findings.append(Finding("warned", f"in {split}, with a near duplicate in train", _names(read, leaked)))
    labelled = np.flatnonzero(read.labels != UNLABELLED)
    pairs = np.unique(np.stack([clusters[labelled], read.labels[labelled]], axis=1), axis=0)
    numbers, counts = np.unique(pairs[:, 0], return_counts=True)
    torn = labelled[np.isin(clusters[labelled], numbers[counts > 1])]
    findings.append(Finding("warned", "near duplicates with different labels", _names(read, torn)))
    return tuple(finding for finding in findings if finding.names)


def _left_out(read: Pictures, rows: Rows, held_out: list[str]) -> tuple[Finding, ...]:
    """Find what is in no split, by the reason: a domain that is held out, or the lack of a label."""
    left = np.setdiff1d(np.arange(len(read)), np.concatenate(list(rows.values())))
    held = np.isin(np.array(read.domains or [""] * len(read)), held_out)[left]
    by_domain = held | (read.labels[left] != UNLABELLED)
    kind = f"of {' and '.join(held_out)} outside of the test, or of another domain in it (data.split.held_out)"
    findings = [
        Finding("skipped", kind, _names(read, left[by_domain])),
        Finding("skipped", "no label, and together with val or test pictures", _names(read, left[~by_domain])),
    ]
    return tuple(finding for finding in findings if finding.names)


def _names(read: Pictures, rows: Int64[np.ndarray, " _"]) -> tuple[str, ...]:
    return tuple(read.names[row] for row in rows.tolist())


def _fingerprint(pictures: Pictures, store: CanvasStore) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in [pictures.ids, pictures.labels, *(pictures.rows[split] for split in SPLITS)]:
        digest.update(len(part).to_bytes(8, "big") + np.ascontiguousarray(part).tobytes())
    digest.update("\0".join((*pictures.classes, store.fingerprint)).encode())
    return digest.hexdigest()
