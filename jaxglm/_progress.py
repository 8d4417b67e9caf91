"""Floor 0: a progress bar, where one is wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(total: int, unit: str, wanted: bool) -> Iterator[Callable[[int, int], None]]:
    """A function that is told how many more are done, and how many of them failed."""
    if not wanted:
        yield lambda done, failed: None
        return
    import tqdm  # an optional dependency: extra `progress`

    with tqdm.tqdm(total=total, unit=unit) as bar:
        failures = 0

        def advance(done: int, failed: int) -> None:
            nonlocal failures
            failures += failed
            bar.set_postfix_str(f"{failures} failed", refresh=False)
            bar.update(min(done, total - bar.n))

        yield advance
