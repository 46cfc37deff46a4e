"""Residual networks for small pictures: the CIFAR ResNets and Wide ResNets, with the methods that timm's models have."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from jaxtyping import Float
from timm.layers import DropPath, create_classifier
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional

Images = Float[Tensor, "batch _ _ _"]


class StagedResNet(nn.Module):
    """A stem, stages of blocks, a last activation, pooling and a linear classifier, with the methods that timm's models have.

    Args:
        stem: images to the first map.
        stages: one module a stage.
        widths: channels after each stage; the first stage keeps the map's size, each further one halves it.
        last: what follows the last stage.
        num_classes: width of the logits.
        global_pool: kind of pooling, as timm names it.
        drop_rate: dropout before the classifier, for training.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        widths: Sequence[int],
        last: nn.Module,
        *,
        num_classes: int,
        global_pool: str,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features, self.head_hidden_size = num_classes, widths[-1], widths[-1]
        self.stem, self.stages, self.last = stem, nn.ModuleList(stages), last
        self.feature_info = [
            {"num_chs": width, "reduction": 2**place, "module": f"stages.{place}"} for place, width in enumerate(widths)
        ]
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=global_pool)
        self.head_drop = nn.Dropout(drop_rate)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Images) -> Float[Tensor, "batch ..."]:
        """Logits of normalised images, [B, K]; the last map after `reset_classifier(0, "")`."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Images) -> Images:
        """The last map, [B, C, H, W]."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        features: Tensor = self.last(x)
        return features

    def forward_head(self, x: Images, pre_logits: bool = False) -> Float[Tensor, "batch ..."]:
        """Logits of the last map, or with `pre_logits` what the classifier sees."""
        pooled: Tensor = self.head_drop(self.global_pool(x))
        logits: Tensor = pooled if pre_logits else self.fc(pooled)
        return logits

    def forward_intermediates(
        self,
        x: Images,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last map and those after the stages at `indices` (timm's protocol); `norm` puts the last activation on them."""
        assert output_fmt == "NCHW", "The maps of a convolutional network are NCHW."
        wanted = self._places(indices)
        found = []
        x = self.stem(x)
        for place, stage in enumerate(self.stages[: max(wanted) + 1] if stop_early else self.stages):
            x = stage(x)
            if place in wanted:
                found.append(self.last(x) if norm and place == len(self.stages) - 1 else x)
        return found if intermediates_only else (self.last(x), found)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what follows the last of the stages at `indices` (timm's protocol)."""
        wanted = self._places(indices)
        is_shorter = max(wanted) + 1 < len(self.stages)
        self.stages = self.stages[: max(wanted) + 1]
        if prune_norm or is_shorter:
            self.last = nn.Identity()
        self.num_features = self.head_hidden_size = int(self.feature_info[max(wanted)]["num_chs"])
        if prune_head or is_shorter:
            self.reset_classifier(0, "")
        return wanted

    def get_classifier(self) -> nn.Module:
        """The linear classifier."""
        classifier: nn.Module = self.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier of that many classes in its place; 0 leaves it out."""
        self.num_classes = num_classes
        pool_type = self.global_pool.pool_type if global_pool is None else global_pool
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=pool_type)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns of parameters' names by depth (timm's protocol)."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Refuse to recompute activations: these networks are small."""
        assert not enable, "These networks do not recompute activations."

    def _places(self, indices: int | Sequence[int] | None) -> list[int]:
        """Places of stages, as timm means it: all for None, the last n for a number, negative ones from the end."""
        every = range(len(self.stages))
        return (
            list(every)
            if indices is None
            else list(every[-indices:])
            if isinstance(indices, int)
            else [every[i] for i in indices]
        )


class CifarResNet(StagedResNet):
    """A ResNet of 6n + 2 layers (arXiv:1512.03385, section 4.2): a 3×3 stem and n basic blocks at 16, 32 and 64 channels.

    Args:
        depth: blocks a stage (n): 3 for ResNet-20, 9 for ResNet-56.
        widths: channels of the stages.
        shortcut: where the map shrinks: "pad", every other pixel and channels of zeros (option A, the paper's), or
            "projection", a 1×1 convolution with batch statistics (option B).
        num_classes: width of the logits.
        in_chans: channels of the images.
        global_pool: kind of pooling, as timm names it.
        drop_rate: dropout before the classifier, for training.
        drop_path_rate: stochastic depth of the last block, for training; it rises linearly from 0.
    """

    def __init__(
        self,
        depth: int,
        widths: Sequence[int] = (16, 32, 64),
        shortcut: str = "pad",
        num_classes: int = 100,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        if shortcut not in ("pad", "projection"):
            raise ValueError(f"shortcut: expected 'pad' or 'projection', got {shortcut!r}")

        def block(ins: int, outs: int, stride: int, drop_path: nn.Module | None) -> nn.Module:
            downsample: nn.Module | None = None
            if stride != 1 or ins != outs:
                downsample = PaddedShortcut(outs - ins, stride) if shortcut == "pad" else _projection(ins, outs, stride)
            made: nn.Module = BasicBlock(ins, outs, stride=stride, downsample=downsample, drop_path=drop_path)
            return made

        stem = nn.Sequential(
            nn.Conv2d(in_chans, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        stages = _stages(block, (widths[0], *widths), depth, drop_path_rate)
        head = {"num_classes": num_classes, "global_pool": global_pool, "drop_rate": drop_rate}
        super().__init__(stem, stages, widths, nn.Identity(), **head)  # type: ignore[arg-type]  # one dict of several types


class WideResNet(StagedResNet):
    """A Wide ResNet (arXiv:1605.07146): pre-activation blocks at 16k, 32k and 64k channels.

    Args:
        depth: blocks a stage: 4 for the WRN-28s, whose layers are 6 · 4 + 4.
        width: k, how many times the channels of a CIFAR ResNet.
        dropout: between the two convolutions of each block, for training; the source has 0.3 where it uses it.
        num_classes: width of the logits.
        in_chans: channels of the images.
        global_pool: kind of pooling, as timm names it.
        drop_rate: dropout before the classifier, for training.
        drop_path_rate: stochastic depth of the last block, for training; it rises linearly from 0.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        dropout: float = 0.0,
        num_classes: int = 100,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        widths = (16 * width, 32 * width, 64 * width)

        def block(ins: int, outs: int, stride: int, drop_path: nn.Module | None) -> nn.Module:
            return PreActivationBlock(ins, outs, stride, dropout=dropout, drop_path=drop_path)

        last = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True))
        stem = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        head = {"num_classes": num_classes, "global_pool": global_pool, "drop_rate": drop_rate}
        stages = _stages(block, (16, *widths), depth, drop_path_rate)
        super().__init__(stem, stages, widths, last, **head)  # type: ignore[arg-type]  # one dict of several types


class PreActivationBlock(nn.Module):
    """BN, ReLU, 3×3; BN, ReLU, dropout, 3×3; beside the input, which a 1×1 convolution widens where channels or size change."""

    def __init__(self, ins: int, outs: int, stride: int, *, dropout: float, drop_path: nn.Module | None) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(ins), nn.Conv2d(ins, outs, 3, stride, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(outs), nn.Conv2d(outs, outs, 3, padding=1, bias=False)
        changes = stride != 1 or ins != outs
        self.shortcut = nn.Conv2d(ins, outs, 1, stride, bias=False) if changes else None
        self.dropout, self.drop_path = nn.Dropout(dropout), drop_path or nn.Identity()

    def forward(self, x: Images) -> Images:
        """The next map."""
        active = functional.relu(self.bn1(x))
        beside = x if self.shortcut is None else self.shortcut(active)
        within = self.conv2(self.dropout(functional.relu(self.bn2(self.conv1(active)))))
        total: Tensor = beside + self.drop_path(within)
        return total


class PaddedShortcut(nn.Module):
    """Every `stride`-th pixel, and channels of zeros for those that are missing: a shortcut without parameters (option A)."""

    def __init__(self, missing: int, stride: int) -> None:
        super().__init__()
        self._before, self._after, self._stride = missing // 2, missing - missing // 2, stride

    def forward(self, x: Images) -> Images:
        """The map as wide as the block's."""
        return functional.pad(x[:, :, :: self._stride, :: self._stride], (0, 0, 0, 0, self._before, self._after))


def _projection(ins: int, outs: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))


def _stages(
    block: Callable[[int, int, int, nn.Module | None], nn.Module], widths: Sequence[int], depth: int, drop_path_rate: float
) -> list[nn.Module]:
    """`depth` blocks for each step of `widths`; each stage but the first halves the map."""
    stages: list[nn.Module] = []
    last = max(1, (len(widths) - 1) * depth - 1)
    for place, (ins, outs) in enumerate(pairwise(widths)):
        blocks = []
        for number in range(depth):
            rate = drop_path_rate * (place * depth + number) / last
            stride = 2 if place and not number else 1
            blocks.append(block(outs if number else ins, outs, stride, DropPath(rate) if rate else None))
        stages.append(nn.Sequential(*blocks))
    return stages
