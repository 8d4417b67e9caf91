"""Floor 0: how far a computation is: a bar where one is wanted, and a line in the log.

The logger is "jaxglm", which says nothing unless the program that uses it asks for INFO.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

LOGGER = logging.getLogger("jaxglm")


@contextlib.contextmanager
def progress_bar(total: int, unit: str, wanted: bool) -> Iterator[Callable[[int, int], None]]:
    """A function that is told how many more are done, and how many of them failed."""
    start, failures = time.perf_counter(), 0
    bar = _bar(total, unit) if wanted else None

    def advance(done: int, failed: int) -> None:
        nonlocal failures
        failures += failed
        if bar is not None:
            bar.set_postfix_str(f"{failures} failed", refresh=False)
            bar.update(min(done, total - bar.n))

    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()
    known = f", {failures} failed" if wanted else ""
    LOGGER.info("%d x %s in %.3g s%s", total, unit, time.perf_counter() - start, known)


def _bar(total: int, unit: str) -> Any:
    """tqdm's, that of the notebook in a notebook."""
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'jaxglm[progress]'.") from error
    return tqdm(total=total, unit=unit)
