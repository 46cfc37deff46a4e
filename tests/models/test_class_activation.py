import torch

from picturebook.models.image_encoders import create_image_encoder

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 2, 1])
VIT = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


def test_of_a_resnet_it_is_the_class_activation_map() -> None:
    encoder = create_image_encoder(
        "resnet10t", num_classes=3, image_size=32, model_args={"channels": [8, 8, 8, 16], "output_stride": 8}, seed=1
    ).eval()
    found = encoder.class_activation(IMAGES, CLASSES)
    with torch.no_grad():
        tokens = encoder.tokens(IMAGES)
        weights = encoder.model.get_classifier().weight[CLASSES]
    expected = torch.einsum("btc,bc->bt", tokens, weights).reshape(found.shape) / tokens.shape[1]
    assert found.shape == (3, 4, 4)
    assert (found > 0).any()
    assert (found < 0).any()
    torch.testing.assert_close(found, expected)


def test_an_averaging_vit_has_a_map_and_a_class_token_has_none() -> None:
    averaging = create_image_encoder(
        "vit_tiny_patch16_224",
        num_classes=3,
        image_size=32,
        model_args=VIT | {"global_pool": "avg", "class_token": False},
        seed=1,
    ).eval()
    assert averaging.class_activation(IMAGES, CLASSES).all()
    token = create_image_encoder("vit_tiny_patch16_224", num_classes=3, image_size=32, model_args=VIT, seed=1).eval()
    assert not token.class_activation(IMAGES, CLASSES).any()


def test_it_works_where_gradients_are_off_and_leaves_none_behind() -> None:
    encoder = create_image_encoder("resnet10t", num_classes=3, image_size=32, model_args={"channels": [8, 8, 8, 8]}).eval()
    with torch.no_grad():
        found = encoder.class_activation(IMAGES, CLASSES)
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in encoder.parameters())
