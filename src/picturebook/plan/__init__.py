"""`picturebook plan`: what a run will cost, from the run itself in small: a few pictures, two views, four steps a training.

Every stage does its real work on real pictures (trying.py); its seconds are then multiplied by how much more of it the whole run
has, and its bytes follow from what a record takes. Decoding and the encoding of words are done in full, since the run finds them
in the cache. A bigger setting is arithmetic on that (costs.py, growing.py).
"""

from picturebook.plan.costs import Plan, StageCost
from picturebook.plan.trying import plan_run

__all__ = ["Plan", "StageCost", "plan_run"]
