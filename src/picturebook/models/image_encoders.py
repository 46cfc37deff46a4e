"""Image encoders: any timm model behind RGB in [0, 1], with its tokens and its pooled features."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import isqrt
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from picturebook.errors import ModelError
from picturebook.models.building import build, check_patches, first_line
from picturebook.models.packaged import load_image_package
from picturebook.models.sources import find_image_source
from picturebook.models.stages import stage_indices


class ImageEncoder(nn.Module):
    """A timm model that takes RGB in [0, 1] of any size and gives logits, pooled features or tokens.

    It resizes to its own `image_size` where the size differs (bicubic, clamped to [0, 1]) and normalises by its own
    mean and std, so that encoders with other statistics can share a batch. timm's models do neither in `forward`.

    Args:
        model: a timm classifier.
        name: what the user asked for.
        model_args: the arguments that timm needs to build the same architecture again.
        image_size: side of the model's square input, in pixels.
        mean: of each channel, in [0, 1].
        std: of each channel.

    Attributes:
        architecture: timm's name, without a tag.
        num_classes: width of the logits.
        token_width: width of a token (Dv).
        feature_width: width of the pooled features, the classifier's input.
        grid: (rows, columns) of the tokens; tokens are in row-major order.

    Raises:
        ModelError: the model gives no map of tokens or no row of logits for this image_size.
    """

    model: Any  # timm's models share methods that nn.Module does not declare
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        model_args: Mapping[str, Any],
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.name = name
        self.architecture = str(self.model.pretrained_cfg["architecture"])
        self.model_args = dict(model_args)
        self.image_size = image_size
        self.num_classes = int(self.model.num_classes)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self._layout, self.grid, self.token_width, self.feature_width = self._measure()

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Logits of RGB images in [0, 1]."""
        logits: Tensor = self.model(self.prepare(images))
        return logits

    def forward_features(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch feature_width"]]:
        """Logits, and the pooled features that the classifier sees, of RGB images in [0, 1]."""
        features = self.model.forward_features(self.prepare(images))
        return self.model.forward_head(features), self.model.forward_head(features, pre_logits=True)

    def tokens(
        self, images: Float[Tensor, "batch 3 height width"], *, with_prefix: bool = False
    ) -> Float[Tensor, "batch tokens token_width"]:
        """The last map before pooling, row by row; class and register tokens are left out, or come first `with_prefix`."""
        features: Tensor = self.model.forward_features(self.prepare(images))
        return features if with_prefix and self._layout == "sequence" else self._flatten(features)

    @torch.enable_grad()
    def class_activation(
        self, images: Float[Tensor, "batch 3 _ _"], classes: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch rows columns"]:
        """What in the last map speaks for a class, or against it where negative (Grad-CAM, arXiv:1610.02391, before its ReLU).

        Where an average of the map goes through one linear layer these are class activation maps (arXiv:1512.04150) but for their
        scale. All exactly 0 where the map has no say: a ViT's class token reads the patches before the last map alone.
        """
        features = self.model.forward_features(self.prepare(images)).detach().requires_grad_()
        logits = self.model.forward_head(features)
        (slopes,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), features)
        weights = self._flatten(slopes).mean(dim=1, keepdim=True)
        activation = (self._flatten(features.detach()) * weights).sum(dim=2)
        return activation.reshape(len(images), *self.grid)

    def prepare(self, images: Float[Tensor, "batch 3 _ _"]) -> Float[Tensor, "batch 3 size size"]:
        """RGB in [0, 1] as the timm model itself takes it: of its size, normalised, channels last."""
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            # antialias averages when it shrinks, and has the kernel of PIL's bicubic (a = -0.5), which timm's weights know.
            images = functional.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        return self._normalise(images)

    @property
    def takes_any_size(self) -> bool:
        """Whether the timm model takes images of other sizes as they are: convolutions do, ViTs with `dynamic_img_size`."""
        fixed = bool(self.model.pretrained_cfg.get("fixed_input_size", False))
        return not fixed or bool(self.model_args.get("dynamic_img_size", False))

    def pool(self, images: Float[Tensor, "batch 3 _ _"]) -> Float[Tensor, "batch feature_width"]:
        """The pooled features alone, of images that are not resized where the model takes any size."""
        inputs = self._normalise(images) if self.takes_any_size else self.prepare(images)
        pooled: Tensor = self.model.forward_head(self.model.forward_features(inputs), pre_logits=True)
        return pooled

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean).div_(self.std).contiguous(memory_format=torch.channels_last)

    def stages(self, images: Float[Tensor, "batch 3 _ _"], *, blocks: Sequence[int] = ()) -> list[Float[Tensor, "batch _ _ _"]]:
        """The maps [B, C, H, W] after each stage, from the shallowest; the last is the one before pooling.

        Args:
            images: RGB in [0, 1].
            blocks: for a ViT, the numbers (from 1) of the blocks that end a stage; at each quarter of the depth by default.
                The whole network is always the last stage. Class and register tokens are left out.

        Raises:
            ModelError: the backbone has no stages that are known, or no such blocks.
        """
        return self.forward_stages(images, blocks=blocks)[1]

    def forward_stages(
        self, images: Float[Tensor, "batch 3 _ _"], *, blocks: Sequence[int] = ()
    ) -> tuple[Float[Tensor, "batch classes"], list[Float[Tensor, "batch _ _ _"]]]:
        """Logits and the maps of `stages`, in one pass."""
        indices = stage_indices(self.model, self.name, blocks)
        features, maps = self.model.forward_intermediates(self.prepare(images), indices=list(indices))
        last = self._flatten(features).transpose(1, 2).reshape(len(images), self.token_width, *self.grid)
        return self.model.forward_head(features), [*maps, last]

    @torch.no_grad()
    def layer_on_one_pixel(self, size: int | None = None) -> str | None:
        """The first convolution of several taps and a stride that is given a map of one pixel, if there is one.

        `size` is the side of the images, by default image_size.

        oneDNN leaves its bf16 weight gradients unwritten but for the centre tap, so such a model must not train in bf16 on a CPU.
        """
        found: list[str] = []

        def note(name: str, module: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
            if max(module.kernel_size) > 1 and max(module.stride) > 1 and inputs[0].shape[-2:] == (1, 1):
                found.append(name)

        hooks = [
            module.register_forward_pre_hook(lambda module, inputs, name=name: note(name, module, inputs))
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Conv2d)
        ]
        was_training = self.model.training
        self.model.eval()
        side = size or self.image_size
        self.model(torch.zeros(1, 3, side, side, device=self.mean.device))
        self.model.train(was_training)
        for hook in hooks:
            hook.remove()
        return found[0] if found else None

    def _flatten(self, features: Tensor) -> Tensor:
        if self._layout == "sequence":
            return features[:, features.shape[1] - self.grid[0] * self.grid[1] :]
        return features.flatten(1, 2) if self._layout == "NHWC" else features.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def _measure(self) -> tuple[str, tuple[int, int], int, int]:
        """Find layout and grid of the tokens, and the widths of tokens and pooled features, by looking at one image."""
        was_training = self.model.training
        self.model.eval()  # a look must not move batch statistics
        try:
            features = self.model.forward_features(self.prepare(torch.full((1, 3, self.image_size, self.image_size), 0.5)))
            logits, pooled = self.model.forward_head(features), self.model.forward_head(features, pre_logits=True)
        except Exception as error:  # each of timm's models refuses a size in its own way
            reason = f"{first_line(error)}. Look at image_size and model_args."
            raise ModelError(f"{self.name!r} cannot classify images of {self.image_size} px: {reason}") from error
        self.model.train(was_training)
        if logits.shape != (1, self.num_classes) or pooled.ndim != 2:
            raise ModelError(
                f"{self.name!r} gives logits of shape {tuple(logits.shape)} from features of shape {tuple(pooled.shape)}: "
                f"expected (1, {self.num_classes}) from one pooled vector. Look at model_args."
            )
        width = int(self.model.num_features)
        num_prefix_tokens = int(getattr(self.model, "num_prefix_tokens", 0))  # only timm's ViTs state it
        return *_find_grid(self.name, tuple(features.shape), width, num_prefix_tokens), width, pooled.shape[1]


def create_image_encoder(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    model_args: Mapping[str, Any] | None = None,
    pretrained: bool = False,
    seed: int = 0,
) -> ImageEncoder:
    """Build an image encoder by name.

    New weights are a function of `seed` alone; the global generator is neither read nor moved. With pretrained weights
    the classifier is kept only when it has `num_classes` outputs already, else it is new and starts from zeros.

    Args:
        name: a timm name ("resnet10t", "timm/resnet50.a1_in1k"), "package:efficientnet-lite0", "local-dir:FOLDER"
            (config.json and model.safetensors, as timm and picturebook write them) or a run folder with a student.
        num_classes: width of the logits, at least 1.
        image_size: side of the square input, at least 1; passed on as `img_size` to models whose input size is fixed.
        model_args: more arguments of the timm model; they win over `image_size` and over a folder's own.
        pretrained: load the weights too, not the architecture alone.
        seed: of the initialisation.

    Raises:
        ModelError: no such name, arguments that the model does not take, weights that cannot be had or do not fit.
    """
    if num_classes < 1 or image_size < 1:
        raise ModelError(f"num_classes and image_size need to be at least 1, got {num_classes} and {image_size}.")
    source = find_image_source(name)
    arguments = dict(source.model_args)
    if source.has_fixed_size:
        arguments["img_size"] = image_size
    arguments |= dict(model_args or {})
    size = arguments.get("img_size", image_size)
    if not isinstance(size, int):
        raise ModelError(f"model_args.img_size of {name!r} needs to be one whole number (inputs are square), got {size!r}.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = build(name, source, arguments, num_classes=num_classes, pretrained=pretrained and source.package is None)
    if pretrained and source.package is not None:
        load_image_package(model, source.package, keep_classifier=num_classes == source.package.num_classes)
    if pretrained and num_classes != (source.package.num_classes if source.package else model.pretrained_cfg["num_classes"]):
        _start_from_nothing(model.get_classifier())
    check_patches(name, model, size)
    mean, std = (
        (source.package.mean, source.package.std) if source.package else (model.pretrained_cfg[k] for k in ("mean", "std"))
    )
    return ImageEncoder(model, name=name, model_args=arguments, image_size=size, mean=mean, std=std)


def _start_from_nothing(classifier: nn.Module) -> None:
    """A new classifier on pretrained features answers alike for all classes at first (arXiv:2010.11929, section 3.2).

    The random one that timm gives an EfficientNet of few classes is sure of wrong answers, and its gradient spoils the features.
    """
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.zero_()


def weights_fingerprint(module: nn.Module) -> str:
    """Hex digest (blake2b, 16 bytes) of the names, dtypes, shapes and bytes of all of a module's parameters and buffers."""
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _find_grid(name: str, shape: tuple[int, ...], width: int, num_prefix_tokens: int) -> tuple[str, tuple[int, int]]:
    """Layout and (rows, columns) of features of one square image, by where the channels are."""
    if len(shape) == 4 and shape[1] == width:
        return "NCHW", shape[2:]
    if len(shape) == 4 and shape[3] == width:
        return "NHWC", shape[1:3]
    if len(shape) == 3 and shape[2] == width:
        num_tokens = shape[1] - num_prefix_tokens
        side = isqrt(num_tokens)
        if side and num_tokens - side * side <= 1:  # CaiT and XCiT lead with a class token that they do not state
            return "sequence", (side, side)
    raise ModelError(f"{name!r} gives features of shape {shape}: expected a map or a square of tokens of width {width}.")
