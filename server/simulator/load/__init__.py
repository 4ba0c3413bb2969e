"""Many calls at once, paced and measured: both far ends in one process, for `python -m server bench`."""
