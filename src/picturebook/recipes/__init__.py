"""One file per system of the field; each orders the stages that end in a student."""
