"""ehtseg against what a user would run instead, as ratios in one run.

    make bench      or      python benchmarks/speed.py [--rows 'frames*' 'film*'] [--repeats 5]
    python benchmarks/speed.py --list       every row, with the time that it took the last time
    python benchmarks/speed.py --table      the table of what was measured so far

The opponent is U-Net of segmentation_models.pytorch in a plain loop with equal weights (real
ImageNet weights in the encoder where they are at hand), at its best batch of 1, 4 and 8; "tuned" is
the same with channels_last and, where the processor has it, bf16. Outputs are compared; the note
tells how far they are apart. Every row runs in a process of its own and is kept in
benchmarks/occasions.jsonl at once: after an interruption the same --occasion goes on where it
stopped. A ratio is printed when it was measured on two occasions. Rows "AVX2 ..." run with
ONEDNN_MAX_CPU_ISA=AVX2, as on a processor without AVX-512 and AMX.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import contests
from paired import Measured, Row, machine, remember, remembered, table

from ehtseg.seeing.engines import flush_denormals

HERE = Path(__file__).resolve().parent
OLD = "AVX2 "  # what a row's name begins with that runs as on an old processor
Work = Callable[[int], Row]  # number of repeats -> row


def all_rows() -> dict[str, Work]:
    """Every row of the table, by name."""
    rows: dict[str, Work] = {}
    for net in ("resnet50", "vgg16"):
        for size in (128, 256, 512):
            rows[f"frames {net} {size}"] = partial(contests.segmenting, net, size)
        rows[f"frames in 8 bits {net} 256"] = partial(contests.segmenting, net, 256, int8=True)
        rows[f"train unfrozen {net} 256"] = partial(contests.training, net, 256)
        rows[f"train frozen {net} 256"] = partial(contests.training, net, 256, freeze="all")
        rows[f"film {net} 512"] = partial(contests.film, net, 512, 24)
        rows[f"{OLD}frames {net} 256"] = rows[f"frames {net} 256"]
    rows[f"{OLD}train unfrozen resnet50 256"] = rows["train unfrozen resnet50 256"]
    for size in (128, 512):
        rows[f"train unfrozen resnet50 {size}"] = partial(contests.training, "resnet50", size)
    rows["train from scratch resnet50 256"] = partial(
        contests.training, "resnet50", 256, transfer=0
    )
    rows["film resnet50 256"] = partial(contests.film, "resnet50", 256, 48)
    rows["longer film resnet50 256"] = partial(contests.longer_film, "resnet50", 256, 200)
    for size in (256, 512):
        rows[f"memory resnet50 {size}"] = partial(contests.peak_memory, "resnet50", size, 200)
    rows["start"] = contests.start_up
    return rows


def tiny(work: Work) -> Work:
    """The same row at a size at which it says nothing, to see that it works."""
    if not isinstance(work, partial):
        return work
    net, _, *count = work.args
    return partial(work.func, net, 64, *[8 for _ in count], **work.keywords)


def in_own_process(name: str, occasion: str, how: list[str]) -> Measured:
    """Measure one row in a process of its own."""
    limit = {"ONEDNN_MAX_CPU_ISA": "AVX2"} if name.startswith(OLD) else {}
    started = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, __file__, "--row", name, *how],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **limit},
    )
    found = json.loads(answer.stdout.splitlines()[-1])
    seconds = time.perf_counter() - started
    return Measured(occasion, name, found["machine"], round(seconds), Row(**found["row"]))


def one_row(name: str, repeats: int, quick: bool) -> None:
    """Measure one row in this process and print it for the one that asked."""
    flush_denormals()
    work = all_rows()[name]
    row = (tiny(work) if quick else work)(repeats)
    print(json.dumps({"machine": machine(), "row": asdict(row)}))


def measure(names: list[str], occasion: str, how: list[str], file: Path) -> None:
    """Measure rows that this occasion does not have yet, and tell how long it takes."""
    facts, begun = machine(), time.perf_counter()
    print("; ".join(f"{key} {value}" for key, value in facts.items()), flush=True)
    print(f"occasion {occasion}; to go on with it later: --occasion '{occasion}'", flush=True)
    known = remembered(file, facts["processor"], facts["threads"])
    last_s = {each.name: each.seconds for each in known}
    done = {each.name for each in known if each.occasion == occasion}
    missing = [name for name in names if name not in done]
    for count, name in enumerate(missing, 1):
        expected = sum(last_s.get(each, 0) for each in missing[count - 1 :])
        print(f"{count} of {len(missing)}: {name} ({expected / 60:.0f} min left, by the last time)")
        measured = in_own_process(name, occasion, how)
        remember(file, measured)
        rates = ", ".join(f"{side} {rate:.3g}" for side, rate in measured.row.rates.items())
        print(f"    {rates} {measured.row.unit}; {measured.seconds:.0f} s", flush=True)
    print(f"took {(time.perf_counter() - begun) / 60:.1f} min\n")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=["*"], help="names or patterns of rows")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--occasion", default=time.strftime("%Y-%m-%d %H:%M"))
    parser.add_argument("--file", type=Path, default=HERE / "occasions.jsonl")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--quick", action="store_true", help="to see that it works: tiny work")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        return one_row(asked.row, asked.repeats, asked.quick)
    if asked.memory_of:
        side, run, video, size = asked.memory_of
        print(contests.memory_of(side, Path(run), Path(video), int(size)))
        return None
    names = [n for n in all_rows() if any(fnmatch(n, pattern) for pattern in asked.rows)]
    if not names:
        parser.error(f"no row is called {' or '.join(asked.rows)}; --list shows all")
    file = Path(os.devnull) if asked.quick else asked.file
    if not (asked.list or asked.table):
        how = ["--repeats", str(asked.repeats), *["--quick"] * asked.quick]
        measure(names, asked.occasion, how, file)
    facts = machine()
    known = remembered(file, facts["processor"], facts["threads"])
    if asked.list:
        last_s = {each.name: each.seconds for each in known}
        print("\n".join(f"{name}: {last_s.get(name, '?')} s" for name in names))
    else:
        print(table(names, known))
    return None


if __name__ == "__main__":
    main()
