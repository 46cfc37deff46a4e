"""What every recipe is made of: the two primitives *train* and *label*, and the parts that they work on."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from picturebook.caching import cache_key, short_hash
from picturebook.data.findings import sentence
from picturebook.data.loaders import BatchMaker, TrainingBatches, ViewMaker
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.views import VIEWS_VERSION
from picturebook.engine import Training, TrainOptions, start_tracking, train, wants_parts, written_together
from picturebook.errors import DataError, OptionError, RunError
from picturebook.evaluate import evaluate_rows, student_logits
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.objective import Objective
from picturebook.recipes.inputs import refuse_other_inputs
from picturebook.recipes.network_checks import refuse_other_start, refuse_wrong_gradients
from picturebook.recipes.options import RecipeOptions, refuse_unmeasured
from picturebook.recipes.shared_stores import lacking
from picturebook.runs import RunFolder
from picturebook.stores.sharing import CHUNK
from picturebook.stores.targets import TargetStore, TargetWriter, stored_error, targets_are_stored
from picturebook.teachers import StoredTeacher, Teacher
from picturebook.types import UNLABELLED, Batch, Progress, Reporter
from picturebook.writing import read_json, write_json


class Stages:
    """One run's data, devices and folder, and the primitives that recipes order."""

    def __init__(
        self,
        options: RecipeOptions,
        folder: RunFolder,
        accelerator: Accelerator,
        *,
        cache: Path,
        text_column: str | None,
        reporter: Reporter,
    ) -> None:
        if options.data.canvas_size < options.student.image_size:
            raise OptionError(
                f"data.canvas_size = {options.data.canvas_size} is less than student.image_size = {options.student.image_size}, "
                "so the student would see blurred pictures: raise data.canvas_size."
            )
        self.options, self.folder, self.cache, self.reporter = options, folder, cache, reporter
        self.accelerator, self.device = accelerator, accelerator.device
        self.in_parts = wants_parts(options.strategy) and accelerator.num_processes > 1
        """Whether each process has a part of what is trained, and not the whole."""
        self._seconds_file = folder.stages / "seconds.json"
        self.seconds: dict[str, float] = _earlier_seconds(self._seconds_file)
        self.cached_seconds: dict[str, float] = {}
        """By stage, what it took another run to make what this one found in the cache."""
        self.fingerprints: dict[str, str] = {}
        self.words: dict[str, dict[str, int | str]] = {}
        with accelerator.main_process_first(), self.timed("decode"), reporter.stage("decoding pictures") as progress:
            self.pictures: Pictures = load_pictures(options.data, cache=cache, text_column=text_column, progress=progress)
        self.fingerprints["data"] = self.pictures.fingerprint
        self._has_told = False  # of pictures without a label
        for finding in self.pictures.findings:
            reporter.say(sentence(finding))
        self.views = options.views.whole() if options.answers_whole_views else options.views
        """Of what is labelled."""
        maker = ViewMaker(self.pictures, self.views, options.student.image_size, options.seed, self.device)
        self.maker = maker.among(self.train_rows)
        refuse_unmeasured(options.train, "student", validated=self._has_validation)
        student = self.new_student()  # what does not fit is refused now, not after the teacher's hours
        refuse_other_start(student, options.student, self.pictures.classes)
        refuse_wrong_gradients(student, accelerator)

    def in_folder(self, folder: RunFolder) -> "Stages":
        """The same parts, working in another folder."""
        other = copy(self)
        other.folder, other._seconds_file, other.seconds = folder, folder.stages / "seconds.json", {}
        other.cached_seconds = {}
        return other

    @property
    def train_rows(self) -> np.ndarray:
        """Rows to train on, unlabelled ones too."""
        return self.pictures.rows["train"]

    @property
    def num_stored(self) -> int:
        """Training pictures that stores have to hold; a plan works on few and answers for all."""
        return len(self.train_rows)

    @property
    def labelled_rows(self) -> np.ndarray:
        """Rows to train on that have a label.

        Raises:
            DataError: there are none.
        """
        rows: np.ndarray = self.train_rows[self.pictures.labels[self.train_rows] != UNLABELLED]
        if len(rows) == 0:
            raise DataError("No training picture has a label: this recipe needs some.")
        if (left := len(self.train_rows) - len(rows)) and not self._has_told:
            self.reporter.say(f"{left} pictures without a label are left out where labels teach.")
            self._has_told = True
        return rows

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the block's seconds to the stage's, earlier tries' included."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
            if self.folder.stages.is_dir() and self.accelerator.is_main_process:
                write_json(self._seconds_file, self.seconds)  # so that a resumed run's cost is the whole cost

    @contextmanager
    def encoding_words(self, num: int, *, of_pictures: bool) -> Iterator[Progress]:
        """Time and show the encoding of `num` texts, which are the pictures' own or those of classes."""
        with self.timed("encode words"), self.reporter.stage("encoding words") as progress:
            yield progress

    def part_seed(self, part: str) -> int:
        """A seed of a part's own, so that a teacher and a student of one architecture start from different weights."""
        digest = hashlib.blake2b(f"{self.options.seed}/{part}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") >> 1

    def new_projector(self, student: ImageEncoder, width: int | None, *, part: str = "projector") -> nn.Linear | None:
        """A linear layer from the student's features to vectors of `width`, or None where there are none to learn."""
        if width is None:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.part_seed(part))
            return nn.Linear(student.feature_width, width)

    def new_student(self, part: str = "student") -> ImageEncoder:
        """The student's architecture with the weights that `student.init` says; scratch weights depend on seed and part alone."""
        student = self.options.student
        name = student.init if student.init not in ("scratch", "pretrained") else student.model
        return create_image_encoder(
            name,
            num_classes=len(self.pictures.classes),
            image_size=student.image_size,
            model_args=dict(student.model_args) if name == student.model else None,
            pretrained=student.init != "scratch",
            seed=self.part_seed(part),
        ).to(self.device)

    def begin(self) -> None:
        """Before a stage does anything: start trackers, and refuse to go on with other data, words or models.

        Raises:
            RunError: a tracker cannot be started, or an interrupted try worked on other inputs.
        """
        start_tracking(self.accelerator, self.folder)  # first, so that a run that is refused here leaves nothing behind
        refuse_other_inputs(self.folder, self.fingerprints, writes=self.accelerator.is_main_process)

    def train(
        self,
        name: str,
        objective: Objective,
        *,
        rows: np.ndarray,
        options: TrainOptions | None = None,
        on_tokens: bool = False,
        seed: int | None = None,
        maker: BatchMaker | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        """Train the objective on `rows`, from where an interrupted try stopped.

        `on_tokens` leaves the pictures unread. `seed` gives a teacher an order and views of its own; by default they are
        the run's, which are the views that are labelled. `maker` makes the batches instead of the run's own views.

        Raises:
            RunError: an interrupted try worked on other data, words or models.
        """
        options = options or self.options.train
        refuse_unmeasured(options, name, validated=validate is not None)
        seed = self.options.seed if seed is None else seed
        batches = TrainingBatches(
            maker or replace(self.maker, seed=seed).among(rows),
            rows,
            batch_size=options.batch_size,
            epochs=options.epochs,
            num_views=options.distinct_views,
            seed=seed,
            share=(self.accelerator.process_index, self.accelerator.num_processes),
            with_images=not on_tokens,
            balanced=self.pictures.labels[rows] if options.sampling == "balanced" else None,
        )
        self.begin()
        with self.timed(name), self.reporter.stage(f"training {name}") as progress:
            training = Training(name, objective.to(self.device), batches, options, seed, validate, progress)
            kept = train(training, run=self.folder, accelerator=self.accelerator, in_parts=self.in_parts)
        if options.keep == "best":
            self.reporter.say(
                f"{name}: the weights of epoch {kept / batches.steps_per_epoch:.0f} of {options.epochs} are kept, the best on "
                "validation pictures."
            )

    @property
    def _has_validation(self) -> bool:
        return bool((self.pictures.labels[self.pictures.rows["val"]] != UNLABELLED).any())

    def validation_of(self, model: ImageEncoder) -> Callable[[], dict[str, float]] | None:
        """Accuracy and NLL on the validation rows, for the training's log; None when there are no such rows."""
        rows = self.pictures.rows["val"]
        if not self._has_validation:
            return None

        def validate() -> dict[str, float]:
            with self.accelerator.autocast():
                result = evaluate_rows(
                    student_logits(model.eval()),
                    self.pictures,
                    rows,
                    image_size=self.options.student.image_size,
                    device=self.device,
                )
            return {"val_accuracy": result.accuracy, "val_nll": result.nll}

        return validate

    def label(
        self,
        name: str,
        teacher: Teacher,
        *,
        fingerprint: Mapping[str, str],
        representation_width: int | None = None,
        on_tokens: bool = False,
        shared: bool = False,
    ) -> StoredTeacher:
        """Store the teacher's targets for every training row in every view that the student will see.

        `fingerprint` says what the teacher is; views, data and class order are added here. Each process labels a part.
        `shared` ones are kept in the cache, for students of other runs too.
        """
        identity = {**fingerprint, **self.view_fingerprint(), "classes": short_hash("\n".join(self.pictures.classes))}
        folder = self.cache / "targets" / cache_key(identity) if shared else self.folder.stage(name)
        keeps = representation_width is not None
        start = partial(
            TargetWriter,
            folder,
            identity,
            ids=self.pictures.ids[self.train_rows],
            num_views=self.options.train.distinct_views,
            num_classes=len(self.pictures.classes),
            representation_width=representation_width,
        )
        stored = partial(targets_are_stored, folder, with_representation=keeps, say=self.reporter.say)
        with lacking(self.accelerator, folder, stored) as wanted:
            if wanted:
                self._write_targets(name, start, teacher, with_images=not on_tokens)
        store = TargetStore(folder, identity, num_classes=len(self.pictures.classes), with_representation=keeps)
        if (lost := stored_error(folder)) is not None:
            self.reporter.say(lost)
        return StoredTeacher(store)

    def _write_targets(self, name: str, start: Callable[[], TargetWriter], teacher: Teacher, *, with_images: bool) -> None:
        with (
            self.timed(name),
            self.reporter.stage(f"labelling {name}") as progress,
            written_together(self.accelerator, start) as writer,
            torch.no_grad(),
            self.accelerator.autocast(),
        ):
            for batch in self.replay(*writer.missing(), progress=progress, with_images=with_images):
                writer.write(batch.ids.numpy(), batch.views.numpy(), teacher(batch))

    def replay(
        self, ids: np.ndarray, views: np.ndarray, *, progress: Progress, with_images: bool = True, batch_size: int = CHUNK
    ) -> Iterator[Batch]:
        """Batches of the given (id, view) pairs, in their order: the very views that a training shows."""
        order = np.argsort(self.pictures.ids)
        rows = order[np.searchsorted(self.pictures.ids[order], ids)]
        for start in range(0, len(rows), batch_size):
            part = slice(start, start + batch_size)
            if with_images:
                self.maker.expect(rows[start : start + 2 * batch_size])
            yield self.maker.batch(rows[part], views[part], with_images=with_images)
            progress(min(start + batch_size, len(rows)), len(rows))

    def view_fingerprint(self) -> dict[str, str]:
        """What a view is a function of, but for id and number."""
        options = self.options
        partners = self.maker.partners
        settings = f"{self.views.model_dump_json()} side {options.student.image_size} canvas {options.data.canvas_size}"
        return {
            "views": f"{VIEWS_VERSION} {short_hash(settings)}",
            "view seed": str(options.seed),
            **({} if partners is None else {"partners": partners.fingerprint}),
            "precision": str(self.accelerator.mixed_precision),
            "data": self.pictures.fingerprint,
        }


def _earlier_seconds(file: Path) -> dict[str, float]:
    """What earlier tries took; nothing where it was cut off, since a run is worth more than its clock."""
    try:
        return {str(stage): float(seconds) for stage, seconds in read_json(file).items()}
    except (RunError, AttributeError, TypeError, ValueError):
        return {}
