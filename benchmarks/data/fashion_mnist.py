"""Fetch Fashion-MNIST (60,000 and 10,000 grey pictures of clothes, 28 × 28, MIT licence) from its Debian package.

    python benchmarks/data/fashion_mnist.py --out data/fashion-mnist

Needs apt-get and dpkg. Call the folder fashion-mnist: its name tells the reader what the ten classes are called.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from picturebook.data.emoji import new_folder
from picturebook.data.idx import read_idx
from picturebook.errors import DataError, PicturebookError

PACKAGE = "dataset-fashion-mnist"
DIGEST = "39e172fe32dd318e"
FOLDER = Path("usr/share/datasets/fashion-mnist")
SHAPES = {
    "train-images-idx3-ubyte.gz": (60_000, 28, 28),
    "train-labels-idx1-ubyte.gz": (60_000,),
    "t10k-images-idx3-ubyte.gz": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte.gz": (10_000,),
}


def fetch(out: Path) -> None:
    """Download, check, unpack, and put the four files in their place when they are what they should be."""
    with new_folder(out) as folder, tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["apt-get", "download", "-qq", PACKAGE], cwd=scratch, check=True)
        archive = next(Path(scratch).glob(f"{PACKAGE}_*.deb"))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if not digest.startswith(DIGEST):
            raise DataError(
                f"{archive.name} should have a SHA-256 that starts with {DIGEST}, but it is {digest}: "
                "the package is another version. Look at its files, then change DIGEST."
            )
        subprocess.run(["dpkg", "-x", archive, scratch], check=True)
        for name, expected in SHAPES.items():
            shape = read_idx(Path(scratch) / FOLDER / name).shape
            if shape != expected:
                raise DataError(f"{name} should have the shape {expected}, but it has {shape}.")
            (folder / name).write_bytes((Path(scratch) / FOLDER / name).read_bytes())


def main() -> int:
    """Read the command line, fetch, and say where the files are."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the four files; must not exist")
    out = parser.parse_args().out
    try:
        fetch(out)
    except PicturebookError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{out} holds {', '.join(SHAPES)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
