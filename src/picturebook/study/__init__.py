"""Studies: arms × seeds of runs, paired by seed, ending in one table with intervals and tests."""
