import copy

import pytest
import torch
from torch import nn

from picturebook.errors import ModelError
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder, weights_fingerprint

RESNET = {"channels": [16, 32, 64, 128]}
VIT = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


def small_resnet(**settings: object) -> ImageEncoder:
    return create_image_encoder("resnet10t", **{"num_classes": 5, "image_size": 32, "model_args": RESNET, **settings})


def small_vit(**settings: object) -> ImageEncoder:
    return create_image_encoder(
        "vit_tiny_patch16_224",
        **{"num_classes": 5, "image_size": 32, "model_args": VIT, **settings},
    )


def pictures(count: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_a_convolutional_encoder_states_its_shapes() -> None:
    encoder = small_resnet().eval()
    logits, features = encoder.forward_features(pictures())
    assert (encoder.grid, encoder.token_width, encoder.feature_width, encoder.num_classes) == ((1, 1), 128, 128, 5)
    assert logits.shape == (2, 5)
    assert features.shape == (2, 128)
    assert torch.equal(logits, encoder(pictures()))


@pytest.mark.parametrize("model_args", [{}, {"class_token": False, "global_pool": "avg"}, {"reg_tokens": 3}])
def test_a_vit_gives_patch_tokens_only(model_args: dict[str, object]) -> None:
    encoder = small_vit(model_args=VIT | model_args).eval()
    assert (encoder.grid, encoder.token_width) == ((4, 4), 32)
    everything = encoder.model.forward_features((pictures() - encoder.mean) / encoder.std)
    assert torch.equal(encoder.tokens(pictures()), everything[:, encoder.model.num_prefix_tokens :])


def test_tokens_run_row_by_row() -> None:
    encoder = small_resnet(image_size=96).eval()
    grid_map = encoder.model.forward_features((pictures(size=96) - encoder.mean) / encoder.std)
    tokens = encoder.tokens(pictures(size=96))
    assert encoder.grid == (3, 3)
    for row in range(3):
        for column in range(3):
            torch.testing.assert_close(tokens[:, 3 * row + column], grid_map[:, :, row, column])


def test_maps_with_channels_last_are_recognised() -> None:
    swin = {"window_size": 4, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}
    encoder = create_image_encoder("swin_tiny_patch4_window7_224", num_classes=3, image_size=16, model_args=swin).eval()
    features = encoder.model.forward_features((pictures(size=16) - encoder.mean) / encoder.std)
    assert encoder.grid == (4, 4)
    assert torch.equal(encoder.tokens(pictures(size=16)), features.reshape(2, 16, 32))


def test_the_pooled_features_are_the_classifiers_input() -> None:
    for encoder in (small_resnet().eval(), small_vit().eval()):
        logits, features = encoder.forward_features(pictures())
        torch.testing.assert_close(encoder.model.get_classifier()(features), logits)


def test_an_encoder_normalises_by_its_own_statistics() -> None:
    encoder = small_resnet().eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = encoder.model((pictures() - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(encoder(pictures()), expected)


def test_images_of_another_size_are_resized_and_stay_in_range() -> None:
    encoder = small_vit().eval()
    checks = torch.zeros(1, 3, 8, 8)
    checks[:, :, ::2, ::2] = 1
    assert encoder(checks).shape == (1, 5)
    resized = encoder.prepare(checks) * encoder.std + encoder.mean
    assert resized.min() >= -1e-6
    assert resized.max() <= 1 + 1e-6


def test_weights_are_a_function_of_the_seed_and_of_nothing_else() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = weights_fingerprint(small_resnet(seed=3))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert weights_fingerprint(small_resnet(seed=3)) == first
    assert weights_fingerprint(small_resnet(seed=4)) != first


def test_building_leaves_batch_statistics_and_training_mode_alone() -> None:
    encoder = small_resnet()
    statistics = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert encoder.model.training
    assert all(int(module.num_batches_tracked) == 0 for module in statistics)


def test_convolutions_have_their_channels_last() -> None:
    encoder = small_resnet()
    kernels = [module.weight for module in encoder.modules() if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)]
    assert kernels
    for tensor in (*kernels, encoder.prepare(torch.rand(2, 3, 32, 32))):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
        assert not tensor.is_contiguous()


def test_a_fingerprint_sees_one_changed_weight_and_no_change_of_memory_format() -> None:
    encoder = small_resnet()
    first = weights_fingerprint(encoder)
    assert weights_fingerprint(copy.deepcopy(encoder).to(memory_format=torch.contiguous_format)) == first
    with torch.no_grad():
        encoder.model.fc.bias[0] += 1e-6
    assert weights_fingerprint(encoder) != first


def test_explicit_arguments_win_over_the_image_size() -> None:
    encoder = small_vit(image_size=64, model_args=VIT | {"img_size": 16})
    assert (encoder.image_size, encoder.grid) == (16, (2, 2))


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelError, match="Did you mean 'resnet10t'"):
        create_image_encoder("resnet10tt", num_classes=2, image_size=32)
    with pytest.raises(ModelError, match=r"Did you mean 'resnet10t\.c3_in1k'"):
        create_image_encoder("timm/resnet10t.c3_in1", num_classes=2, image_size=32)
    with pytest.raises(ModelError, match="efficientnet-lite0"):
        create_image_encoder("package:efficientnet-lite9", num_classes=2, image_size=32)


def test_a_misspelt_argument_is_named_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"takes no argument 'chanels' \(model_args\). Did you mean 'channels'"):
        small_resnet(model_args={"chanels": [1, 2, 3, 4]})
    with pytest.raises(ModelError, match="num_heads=3"):
        small_vit(model_args=VIT | {"num_heads": 3})
    with pytest.raises(ModelError, match="takes no argument 'img_size'"):
        small_resnet(model_args={"img_size": 32})


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ModelError, match="no multiple of the 8 px patches"):
        small_vit(image_size=36)
    with pytest.raises(ModelError, match="'efficientformer_l1' cannot classify images of 64 px"):
        create_image_encoder("efficientformer_l1", num_classes=2, image_size=64, model_args={"depths": [1, 1, 1, 1]})
    with pytest.raises(ModelError, match="Look at image_size and model_args"):
        small_resnet(model_args=RESNET | {"global_pool": ""})
    with pytest.raises(ModelError, match="at least 1, got 0 and 32"):
        small_vit(num_classes=0)
    with pytest.raises(ModelError, match="one whole number"):
        small_vit(model_args=VIT | {"img_size": [32, 16]})


def test_weights_that_are_not_here_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise ConnectionError("offline mode is on")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", no_network)
    with pytest.raises(ModelError, match=r"not on this machine and could not be fetched \(offline mode is on\)"):
        create_image_encoder("resnet10t", num_classes=2, image_size=32, pretrained=True)
    with pytest.raises(ModelError, match="timm knows no weights"):
        create_image_encoder("vit_small_patch16_18x2_224", num_classes=2, image_size=32, pretrained=True)
