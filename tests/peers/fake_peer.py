"""A peer without a network: each step sleeps, and it holds some memory. Started by test_peers as a worker is."""

import sys
import time

from pace import Pace, open_pipe, read_spec

spec = read_spec()
pace = Pace(open_pipe(), {"labelling": 100.0}, free=spec["free"])
held = bytearray(b"x") * spec["bytes"]
sys.stdout.write("chatter that must not get between the lines\n")
if spec["fails"]:
    sys.exit("no such teacher")
for epoch in range(spec["epochs"]):
    for _ in range(4):
        time.sleep(spec["sleep"])
        pace.step()
    if spec["free"]:
        pace.tell({"epoch": epoch + 1, "accuracy": 0.1 * (epoch + 1), "seconds": float(epoch + 1)})
