"""Turn results/*.json into REPORT.md and results/ratios.svg: `python -m benchmarks.report`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "jaxglm"
import matplotlib.pyplot as plt  # noqa: E402

from benchmarks.limits import LIMITS  # noqa: E402
from benchmarks.measure import OURS  # noqa: E402
from benchmarks.problems import ROWS  # noqa: E402

HERE = Path(__file__).parent
COLOURS = {"met": "tab:blue", "missed": "tab:orange", "": "tab:gray"}


class Line(NamedTuple):
    """One fitter on one row; times are per fit, in seconds."""

    row: str
    peer: str
    ours: float | None
    theirs: float | None
    target: float | None
    note: str

    @property
    def ratio(self) -> float | None:
        return self.theirs / self.ours if self.ours and self.theirs else None

    @property
    def verdict(self) -> str:
        if self.ratio is None or self.target is None:
            return ""
        return "met" if self.ratio >= self.target else "missed"


def per_fit(record: dict) -> float | None:
    warm = record.get("warm")
    return median(warm) / record["lanes"] if warm else None


def lines_of(row: str, result: dict) -> list[Line]:
    """A line for every peer of a timed row."""
    fits = result["fits"]
    ours = per_fit(fits[OURS])
    lanes = fits[OURS].get("lanes")
    lines = []
    for peer, record in fits.items():
        if peer != OURS:
            target = ROWS[row].rivals[peer].target
            lines.append(Line(row, peer, ours, per_fit(record), target, remark(record, lanes)))
    return lines


def remark(record: dict, lanes: int) -> str:
    if "error" in record:
        return "failed: " + record["error"].strip().splitlines()[-1][:80]
    notes = [f"within {record['difference']:.0e} (allowed {record['tolerance']:.0e})"]
    if not record["agrees"]:
        return f"not timed: results differ by {record['difference']:.0e}"
    if record["lanes"] < lanes:
        notes.append(f"{record['lanes']:,} of {lanes:,} lanes, scaled")
    notes.append(f"first call {show(record['first'])}")
    return "; ".join(notes)


def show(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def table(header: list[str], rows: list[list[str]]) -> str:
    rules = ["---"] * len(header)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rules, *rows])


def peer_table(results: dict[str, dict], lines: list[Line]) -> str:
    rows = []
    for line in lines:
        ratio = "-" if line.ratio is None else f"{line.ratio:.3g}"
        target = "-" if line.target is None else f"{line.target:g}"
        version = results[line.row]["fits"][line.peer].get("version", "")
        numbers = [show(line.ours), show(line.theirs), ratio, target, line.verdict or "-"]
        rows.append([ROWS[line.row].title, f"{line.peer} {version}", *numbers, line.note])
    header = ["work", "peer", "ours, a fit", "peer, a fit", "ratio", "target", "", "remarks"]
    return table(header, rows)


def limit_table(results: dict[str, dict]) -> str:
    rows = []
    for name in LIMITS:
        for case in results.get(name, {}).get("cases", []):
            value, limit = case["value"], case["limit"]
            verdict = "met" if value <= limit else "missed"
            detail = ", ".join(
                f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}"
                for k, v in case["detail"].items()
            )
            figures = [f"{value:.3g} {case['unit']}", f"{limit:g}", verdict, detail]
            rows.append([case["title"], *figures])
    return table(["work", "value", "at most", "", "detail"], rows)


def machine_list(results: dict[str, dict]) -> str:
    """Where and when each row was run, rows of the same surroundings together."""
    groups: dict[str, list[str]] = {}
    for name, result in results.items():
        m = result["machine"]
        text = f"{m['cores']} cores of {m['cpu']}, Python {m['python']}, jax {m['jax']}"
        commit = result.get("fits", {}).get(OURS, {}).get("version")
        groups.setdefault(text, []).append(
            f"{name} ({m['date'][:16]}, load {m['load']:.1f}" + (f", {commit})" if commit else ")")
        )
    return "\n".join(f"- {text}: {', '.join(names)}" for text, names in groups.items())


def draw(lines: list[Line], path: Path) -> None:
    """Horizontal bars of peer time over ours on a log scale; a stroke marks the target."""
    known = [line for line in lines if line.ratio][::-1]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.26 * len(known)))
    positions = range(len(known))
    colours = [COLOURS[line.verdict] for line in known]
    axes.barh(positions, [line.ratio for line in known], color=colours)
    for position, line in zip(positions, known, strict=True):
        axes.text(line.ratio * 1.05, position, f"{line.ratio:.3g}", va="center", fontsize=8)
        if line.target:
            axes.plot([line.target] * 2, [position - 0.45, position + 0.45], color="black")
    axes.set_yticks(positions, [f"{line.row}: {line.peer}" for line in known], fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1.0, color="black", linewidth=0.5)
    axes.margins(x=0.1, y=0.01)
    axes.set_xlabel("peer time / jaxglm time per fit (stroke: target; gray: no target)")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--out", type=Path, default=HERE / "REPORT.md")
    asked = parser.parse_args()
    paths = [asked.results / f"{name}.json" for name in [*ROWS, *LIMITS]]
    results = {path.stem: json.loads(path.read_text()) for path in paths if path.exists()}
    timed = [row for row in ROWS if row in results]
    lines = [line for row in timed for line in lines_of(row, results[row])]
    draw(lines, asked.results / "ratios.svg")
    sections = [
        "# Benchmarks",
        "Written by `python -m benchmarks.report` from results/*.json; README.md tells how each "
        "row is run. Ratio: the peer's warm median per fit over ours, so more is better. Results "
        "are compared before anything is timed.",
        "## Beside other fitters",
        peer_table(results, lines),
        "![ratios](results/ratios.svg)",
        "## Beside itself",
        limit_table(results),
        "## Machine",
        machine_list(results),
    ]
    asked.out.write_text("\n\n".join(sections) + "\n")


if __name__ == "__main__":
    main()
