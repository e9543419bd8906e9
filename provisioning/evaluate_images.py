"""The images of an evaluation: which unit shows what, by the folders that they lie in or by a list.

Folders: DIR/<class>/ holds either files, one a unit where the bundle has one view and <unit>-<view>.png where it has
several, or only folders, one a view, of files <unit>.png; .pgm does as well. Units without a defect are class `good`.
List: DIR/labels.csv with the columns unit, view, file, class; then nothing else of DIR is looked at.
How QA uses it: docs/operations/evaluate.md.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning.grey_images import SUFFIXES, ImagesRefused, read_size

GOOD = "good"
LABELS = "labels.csv"
COLUMNS = ("unit", "view", "file", "class")


@dataclass(frozen=True, slots=True)
class LabelledUnit:
    """One unit, the class that it has in truth, and its image file by view, in the order of the views."""

    name: str
    truth: str
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class _Row:
    unit: str
    view: str
    file: Path
    truth: str


def find_units(folder: Path, views: Sequence[str]) -> list[LabelledUnit]:
    """Return the units of `folder`, the good ones first, each with an image of every one of `views`.

    Only the first bytes of each image are read.

    Raises:
        ImagesRefused: naming the first file that does not fit.
    """
    try:
        rows = list(_listed(folder) if (folder / LABELS).is_file() else _found(folder, views))
        units = _gathered(rows, views)
        _check_sizes(units)
    except OSError as error:
        raise ImagesRefused(f"{error.filename or folder}: {error.strerror}; name a folder of images") from error
    if not units:
        raise ImagesRefused(f"{folder}: holds no unit; put images into {GOOD}/ and a folder for each class of defect")
    return units


def _listed(folder: Path) -> Iterator[_Row]:
    where = folder / LABELS
    truths: dict[str, str] = {}
    files: set[Path] = set()
    for line, row in _lines(where):
        if any(not isinstance(row.get(name), str) or not row[name] for name in COLUMNS) or None in row:
            raise ImagesRefused(f"{where}, line {line}: needs unit, view, file and class, nothing else; correct it")
        found = _Row(row["unit"], row["view"], folder / row["file"], row["class"])
        if truths.setdefault(found.unit, found.truth) != found.truth:
            raise ImagesRefused(f"{where}, line {line}: unit '{found.unit}' is of class {truths[found.unit]} above")
        if found.file in files:
            raise ImagesRefused(f"{where}, line {line}: {row['file']} is listed above; an image counts once")
        files.add(found.file)
        yield found


def _lines(where: Path) -> Iterator[tuple[int, Mapping[Any, Any]]]:
    with where.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if sorted(reader.fieldnames or ()) != sorted(COLUMNS):
                raise ImagesRefused(f"{where}: its first line must name the columns {','.join(COLUMNS)}")
            for row in reader:
                yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise ImagesRefused(f"{where}: not a CSV file in UTF-8 ({error}); save it as one") from error


def _found(folder: Path, views: Sequence[str]) -> Iterator[_Row]:
    for path in _shown(folder):
        if not path.is_dir():
            raise ImagesRefused(f"{path}: lies beside the folders of the classes; move it into one, or take it away")
        inside = _shown(path)
        if not inside:
            raise ImagesRefused(f"{path}: the folder of this class is empty; put images into it or remove it")
        yield from _by_view(path.name, inside, views) if inside[0].is_dir() else _by_name(path.name, inside, views)


def _by_view(truth: str, folders: Sequence[Path], views: Sequence[str]) -> Iterator[_Row]:
    for folder in folders:
        if not folder.is_dir():
            raise ImagesRefused(f"{folder}: lies beside folders of views; a class holds either files or such folders")
        for file in _shown(folder):
            yield _Row(file.stem, folder.name, file, truth)
        if folder.name not in views:
            raise ImagesRefused(_unknown(folder, folder.name, views))


def _by_name(truth: str, files: Sequence[Path], views: Sequence[str]) -> Iterator[_Row]:
    for file in files:
        if file.is_dir():
            raise ImagesRefused(f"{file}: lies beside files; a class holds either files or folders of views")
        if len(views) == 1:
            yield _Row(file.stem, views[0], file, truth)
            continue
        unit, dash, view = file.stem.rpartition("-")
        if not dash or not unit:
            raise ImagesRefused(f"{file}: of which view? name it <unit>-<view>{SUFFIXES[0]}; views: {', '.join(views)}")
        yield _Row(unit, view, file, truth)


def _shown(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name, without hidden files."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _gathered(rows: Sequence[_Row], views: Sequence[str]) -> list[LabelledUnit]:
    found: dict[tuple[bool, str, str], dict[str, Path]] = {}
    for row in rows:
        if row.view not in views:
            raise ImagesRefused(_unknown(row.file, row.view, views))
        if row.file.suffix.lower() not in SUFFIXES:
            raise ImagesRefused(
                f"{row.file}: is not a {' or '.join(SUFFIXES)} file; take it away or convert it without loss"
            )
        files = found.setdefault((row.truth != GOOD, row.truth, row.unit), {})
        if files.setdefault(row.view, row.file) != row.file:
            raise ImagesRefused(f"{row.file}: unit '{row.unit}' has view {row.view} twice; keep one")
    return [_complete(unit, truth, files, views) for (_, truth, unit), files in sorted(found.items())]


def _complete(unit: str, truth: str, files: Mapping[str, Path], views: Sequence[str]) -> LabelledUnit:
    for view in views:
        if view not in files:
            beside = next(iter(files.values()))
            raise ImagesRefused(f"{beside}: unit '{unit}' has no image of view {view}; add it or take the unit away")
    return LabelledUnit(unit, truth, {view: files[view] for view in views})


def _check_sizes(units: Sequence[LabelledUnit]) -> None:
    sizes: dict[str, tuple[int, int]] = {}
    for unit in units:
        for view, file in unit.files.items():
            size = read_size(file)
            if sizes.setdefault(view, size) != size:
                (width, height), others = size, sizes[view]
                raise ImagesRefused(
                    f"{file}: is {width} x {height}, others of view {view} are {others[0]} x {others[1]}; "
                    "take the images of one camera setting"
                )


def _unknown(file: Path, view: str, views: Sequence[str]) -> str:
    return f"{file}: there is no view '{view}' here; views: {', '.join(views)}"
