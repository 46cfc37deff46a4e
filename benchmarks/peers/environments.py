"""An environment for each peer, from its requirements.txt: python benchmarks/peers/environments.py [--venvs FOLDER] [PEER …]"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENVS = HERE / ".venv"
"""Where they lie unless another place is named; git does not look there."""
PEERS = tuple(sorted(path.parent.name for path in HERE.glob("*/requirements.txt")))
_LIST = """
import json, importlib.metadata
print(json.dumps({d.name.lower().replace("_", "-"): d.version for d in importlib.metadata.distributions()}))
"""


def make(peer: str, venvs: Path) -> None:
    """Make or complete a peer's environment; torch first, so that what a peer wants of it is told as a conflict."""
    folder, requirements = venvs / peer, HERE / peer / "requirements.txt"
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    wanted = requirements.read_text(encoding="utf-8").split()
    subprocess.run([*pip, *(line for line in wanted if line.startswith(("torch==", "torchvision==")))], check=True)
    subprocess.run([*pip, "-r", str(requirements)], check=True)


def versions(venvs: Path, peers: Iterable[str]) -> dict[str, dict[str, str]]:
    """What is really installed for each peer, of what its requirements.txt names; picturebook's torch stands beside them."""
    found = {}
    for peer in sorted(peers):
        requirements = HERE / peer / "requirements.txt"
        python = str(venvs / peer / "bin" / "python") if requirements.exists() else sys.executable
        lines = requirements.read_text(encoding="utf-8").split() if requirements.exists() else ["torch", "torchvision", "timm"]
        names = [line.partition("==")[0] for line in lines]
        listed = json.loads(subprocess.run([python, "-c", _LIST], check=True, capture_output=True, text=True).stdout)
        found[peer] = {name: listed[name] for name in names}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the peers' environments.")
    parser.add_argument("peers", nargs="*", default=list(PEERS), help=f"some of {', '.join(PEERS)}; all by default")
    parser.add_argument("--venvs", type=Path, default=VENVS, help="folder that holds them")
    arguments = parser.parse_args()
    for peer in arguments.peers:
        print(f"{peer}: {arguments.venvs / peer}")
        make(peer, arguments.venvs)


if __name__ == "__main__":
    main()
