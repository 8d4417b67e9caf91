"""Write what the examples print and draw to docs/outputs/, for their pages: `./run outputs [NAME]`.

Each example runs once, in a process of its own. NAME.txt has what its cells of code printed, each
under `# %% CELL`, counted from 1; NAME-CELL-PICTURE.png is what a cell drew.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import hooks


def run(path):
    """Run an example, and write what its cells print and draw."""
    old = [*hooks.OUTPUTS.glob(f"{path.stem}-*.png")]
    texts, names = [], {"__name__": "__main__", "__file__": str(path)}
    pictures = {}
    for cell, code in enumerate(hooks.code_of(path), 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(path), "exec"), names)
        if printed.getvalue():
            lines = [line.rstrip() for line in printed.getvalue().splitlines()]
            texts += [f"# %% {cell}", *lines]
        pictures |= {f"{path.stem}-{cell}-{i}.png": one for i, one in enumerate(drawn(), 1)}
    hooks.OUTPUTS.mkdir(exist_ok=True)
    for file in old:
        file.unlink()
    for name, picture in pictures.items():
        (hooks.OUTPUTS / name).write_bytes(picture)
    text = "\n".join(texts) + "\n"
    (hooks.OUTPUTS / f"{path.stem}.txt").write_text(text, encoding="utf-8")


def drawn():
    """The figures that are open, as files; closes them."""
    if "matplotlib" not in sys.modules:
        return
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        file = io.BytesIO()
        plt.figure(number).savefig(file, dpi=100, pil_kwargs={"optimize": True})
        plt.close(number)
        yield file.getvalue()


def main(names):
    """Run the examples of these names, or all, as their reader runs them."""
    setting = {**os.environ, "JAX_ENABLE_X64": "0", "MPLBACKEND": "Agg"}
    examples = [hooks.ROOT / "examples" / f"{name}.py" for name in names]
    for path in examples or sorted((hooks.ROOT / "examples").glob("*.py")):
        print(path.stem, flush=True)
        command = [sys.executable, str(Path(__file__).resolve()), str(path)]
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(command, env=setting, cwd=folder, check=True)


if __name__ == "__main__":
    if sys.argv[1:] and Path(sys.argv[1]).is_absolute():
        run(Path(sys.argv.pop(1)))
    else:
        main(sys.argv[1:])
