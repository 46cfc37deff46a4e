"""What storing the largest logits loses: python benchmarks/speed/top_k.py PICTURES

Up to 300 pictures of a folder (PNG and JPEG, found below it), answered by EfficientNet-Lite0 (package:efficientnet-lite0), 1,000
classes. Writes top_k.json beside this file, which the page takes up.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import commit
from torch import Tensor

from picturebook.models.image_encoders import create_image_encoder
from picturebook.stores.top_k import TopK

_MOST, _SIDE, _AT_ONCE = 300, 224, 50
_LARGEST = (32, 64, 128, 250)
_TEMPERATURES = (1.0, 2.0, 4.0, 8.0)


def teacher_logits(root: Path) -> Tensor:
    """Logits [n, 1000] of pictures taken evenly from a folder."""
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    files = files[:: max(1, len(files) // _MOST)][:_MOST]
    encoder = create_image_encoder("package:efficientnet-lite0", num_classes=1000, image_size=_SIDE, pretrained=True).eval()
    answers = []
    with torch.no_grad():
        for start in range(0, len(files), _AT_ONCE):
            pictures = [
                np.asarray(Image.open(path).convert("RGB").resize((_SIDE, _SIDE))) for path in files[start : start + _AT_ONCE]
            ]
            answers.append(encoder(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255))
    return torch.cat(answers)


def lost(logits: Tensor, packing: TopK, temperature: float) -> Tensor:
    """KL(target ‖ stored) of each row, in nats."""
    read = packing.unpack(packing.pack(logits), temperature=temperature, device=logits.device)
    log_p, log_q = ((values / temperature).log_softmax(dim=1) for values in (logits, read))
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def main() -> None:
    """Measure, print and keep."""
    root = Path(sys.argv[1])
    logits = teacher_logits(root)
    rows = []
    for largest in _LARGEST:
        errors = {t: lost(logits, TopK(logits.shape[1], largest), t) for t in _TEMPERATURES}
        rows.append({"largest": str(largest)} | {f"{t:g}": f"{e.mean():.3f} ({e.quantile(0.99):.3f})" for t, e in errors.items()})
    softened = {t: (logits / t).log_softmax(dim=1) for t in _TEMPERATURES}
    rows.append({"largest": "entropy"} | {f"{t:g}": f"{-(z.exp() * z).sum(dim=1).mean():.2f}" for t, z in softened.items()})
    of = f"EfficientNet-Lite0 on {len(logits)} pictures of {root.name}, which it never learnt."
    found = {"of": of, "rows": rows, "commit": commit()}
    Path(__file__).with_name("top_k.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
