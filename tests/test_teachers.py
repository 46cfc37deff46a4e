import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from picturebook.data.text_table import TextTable
from picturebook.errors import TextError
from picturebook.models.head_ensembles import Experts, FoldedHead
from picturebook.models.heads import HeadOptions, build_head
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder, weights_fingerprint
from picturebook.stores.packed import PackedArray, PackedWriter
from picturebook.teachers import ClassifierTeacher, FoldTable, Frozen, HeadTeacher, MeanTeacher, TokenTeacher
from picturebook.types import Batch, Queries
from toy_runs import VIT

IDS = np.array([50, -7, 3, 12], dtype=np.int64)


def encoder(seed: int = 0) -> ImageEncoder:
    return create_image_encoder(
        VIT["model"], num_classes=3, image_size=16, model_args={**VIT["model_args"], "drop_path_rate": 0.5}, seed=seed
    )


def batch() -> Batch:
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return Batch(torch.from_numpy(IDS), torch.zeros(4, dtype=torch.long), torch.tensor([0, 1, 2, -1]), images)


def texts(seed: int = 1) -> TextTable:
    vectors = torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(seed))
    return TextTable(IDS, Queries(vectors, torch.ones(4, 1, dtype=torch.bool)))


def own_head() -> FoldedHead:
    options = HeadOptions(mode="own", width=8, num_heads=2, dropout=0.5)
    head = build_head(options, token_width=32, num_tokens=16, text_width=6, num_classes=3, seed=0)
    return FoldedHead([Experts([head])])


NO_FOLDS = FoldTable(IDS, np.full(4, -1))


def test_a_fold_table_knows_each_samples_fold_and_no_strangers() -> None:
    table = FoldTable(IDS, np.array([2, 0, 1, -1]))
    asked = Batch(torch.tensor([3, 50, -100, 12, 51]), torch.zeros(5, dtype=torch.long), torch.zeros(5, dtype=torch.long))
    assert table.of(asked).tolist() == [1, 2, -1, -1, -1]
    assert table.fingerprint != NO_FOLDS.fingerprint


def test_what_is_frozen_cannot_be_woken() -> None:
    module = encoder()
    before = weights_fingerprint(module)
    holder = nn.ModuleDict({"teacher": Frozen(module), "student": nn.Linear(2, 2)})
    holder.train()
    assert holder["student"].training
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert {name.split(".")[0] for name, _ in holder.named_parameters()} == {"student"}
    assert set(holder.state_dict()) == {"student.weight", "student.bias"}
    assert weights_fingerprint(module) == before


def test_what_is_frozen_moves_with_its_holder() -> None:
    module = nn.Linear(2, 2)
    nn.ModuleDict({"teacher": Frozen(module)}).to(torch.float64)
    assert module.weight.dtype == torch.float64
    assert not module.weight.requires_grad


def test_a_frozen_module_answers_without_a_graph() -> None:
    assert not Frozen(nn.Linear(2, 2))(torch.ones(1, 2, requires_grad=True)).requires_grad


def test_a_classifier_teaches_its_logits_and_pooled_features() -> None:
    module = encoder()
    targets = ClassifierTeacher(module).train()(batch())
    logits, features = module.forward_features(batch().images)
    torch.testing.assert_close(targets.logits, logits)
    torch.testing.assert_close(targets.representation, features)
    torch.testing.assert_close(ClassifierTeacher(module)(batch()).logits, targets.logits)  # no dropped path
    assert not targets.logits.requires_grad


def stored_tokens(folder: Path, module: ImageEncoder) -> PackedArray:
    writer = PackedWriter.start(folder, ids=IDS, num_views=1, record=(16, 32), dtype=np.float16, fingerprint={})
    with torch.no_grad():
        writer.write(IDS, np.zeros(4, np.int64), module.eval().tokens(batch().images).numpy())
    writer.finish()
    return PackedArray.open(folder, {})


def test_a_head_over_stored_tokens_says_what_it_says_over_its_encoder(tmp_path: Path) -> None:
    module, head = encoder(), own_head()
    tokens = stored_tokens(tmp_path / "tokens", module)
    live = HeadTeacher(module, head, texts=texts(), folds=NO_FOLDS).train()(batch())
    stored = TokenTeacher(head, tokens, texts=texts(), folds=NO_FOLDS).train()(batch())
    torch.testing.assert_close(stored.logits, live.logits, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(stored.representation, live.representation, rtol=1e-2, atol=1e-3)
    assert not live.logits.requires_grad
    assert not any(part.training for part in [*module.modules(), *head.modules()])


def test_own_words_reach_the_head(tmp_path: Path) -> None:
    module, head = encoder(), own_head()
    other = texts(seed=2)
    first, second = (HeadTeacher(module, head, texts=table, folds=NO_FOLDS)(batch()).logits for table in (texts(), other))
    assert not torch.allclose(first, second)
    with pytest.raises(TextError, match="got no texts"):
        HeadTeacher(module, head, texts=None, folds=NO_FOLDS)(batch())


def test_the_mean_teacher_has_the_mean_of_the_probabilities() -> None:
    teachers = [ClassifierTeacher(encoder(seed)) for seed in range(3)]
    with torch.no_grad():  # answers that differ much
        for number, teacher in enumerate(teachers):
            teacher._encoder.module.model.head.bias.copy_(torch.eye(3)[number] * 4)
    mean = MeanTeacher(teachers).train()
    expected = torch.stack([teacher(batch()).logits.softmax(dim=1) for teacher in teachers]).mean(dim=0)
    torch.testing.assert_close(mean(batch()).logits.softmax(dim=1), expected)
    torch.testing.assert_close(mean(batch()).logits.exp().sum(dim=1), torch.ones(4))


def test_teachers_carry_no_weights_to_save() -> None:
    module, head = encoder(), own_head()
    held = nn.ModuleList(
        [
            ClassifierTeacher(module),
            HeadTeacher(module, head, texts=texts(), folds=NO_FOLDS),
            MeanTeacher([ClassifierTeacher(module)]),
        ]
    )
    assert not held.state_dict()
    assert not list(held.parameters())
    buffer = io.BytesIO()
    torch.save(held.state_dict(), buffer)
    assert buffer.tell() < 2000
