"""Renders good vials for `linewarden model fit-anomaly`: `python -m demo.good_vials DIR --units 200`."""

import argparse
from pathlib import Path

import cv2
from rich.progress import track

from drivers.sim.render import render_views
from drivers.sim.render_sample import sample_vial
from drivers.sim.render_spec import View, load_difficulty

SEED = 20260701


def write_good_vials(folder: Path, units: int, seed: int) -> None:
    """Write raw frames of good vials, grey PNG, into `folder`/body and `folder`/crimp."""
    rules = load_difficulty()
    for view in View:
        (folder / view).mkdir(parents=True, exist_ok=True)
    for index in track(range(units), "rendering good vials", transient=True):
        frames = render_views(sample_vial(seed, index, (), rules), rules)
        for view, frame in zip((View.BODY, View.CRIMP), frames, strict=True):
            cv2.imwrite(str(folder / view / f"{index:05d}.png"), frame)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="receives body/ and crimp/")
    parser.add_argument("--units", type=int, default=200, metavar="N", help="default 200")
    parser.add_argument("--seed", type=int, default=SEED, metavar="S", help="of the demo's other sets it is none")
    chosen = parser.parse_args()
    write_good_vials(chosen.folder, chosen.units, chosen.seed)
    print(f"{chosen.folder}: {chosen.units} good vials, views {', '.join(View)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
