"""Timings of jaxglm beside other fitters; see README.md."""
