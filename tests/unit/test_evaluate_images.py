"""evaluate_images: which file is which view of which unit, and that the odd file is named."""

from pathlib import Path

import numpy as np
import pytest
from evaluate_world import picture, put

from daemon.evidence_file import Image
from provisioning.evaluate_images import find_units
from provisioning.grey_images import ImagesRefused, read_frame

ONE, TWO = ("side",), ("body", "crimp")
HEAD = "unit,view,file,class\n"


def names(folder: Path, views: tuple[str, ...]) -> list[tuple[str, str, dict[str, str]]]:
    return [
        (unit.truth, unit.name, {view: str(file.relative_to(folder)) for view, file in unit.files.items()})
        for unit in find_units(folder, views)
    ]


def test_with_one_view_every_file_is_a_unit_and_good_ones_come_first(tmp_path: Path) -> None:
    for name in ("crack/000.png", "good/000.png", "good/001-side.png"):
        put(tmp_path / name, picture())
    (tmp_path / ".hidden").write_text("")
    assert names(tmp_path, ONE) == [
        ("good", "000", {"side": "good/000.png"}),
        ("good", "001-side", {"side": "good/001-side.png"}),
        ("crack", "000", {"side": "crack/000.png"}),
    ]


def test_with_several_views_the_name_ends_with_the_view(tmp_path: Path) -> None:
    for view in reversed(TWO):
        put(tmp_path / "good" / f"lot-7-{view}.png", picture())
    files = {view: f"good/lot-7-{view}.png" for view in TWO}
    assert names(tmp_path, TWO) == [("good", "lot-7", files)]
    assert list(find_units(tmp_path, TWO)[0].files) == list(TWO)


def test_a_class_may_hold_a_folder_for_each_view(tmp_path: Path) -> None:
    for view in TWO:
        put(tmp_path / "crack" / view / "3.png", picture())
    assert names(tmp_path, TWO) == [("crack", "3", {view: f"crack/{view}/3.png" for view in TWO})]


def test_an_image_of_the_evidence_store_will_do(tmp_path: Path) -> None:
    kept = Image(32, 24, picture().tobytes()).encoded()
    file = tmp_path / "good" / "kept.pgm"
    file.parent.mkdir()
    file.write_bytes(kept)
    put(tmp_path / "good" / "other.png", picture())
    assert [unit.name for unit in find_units(tmp_path, ONE)] == ["kept", "other"]
    assert (read_frame(file)[0] == picture()).all()
    file.write_bytes(kept.replace(b"32 24", b"24 32", 1))
    with pytest.raises(ImagesRefused, match=r"is 32 x 24, others of view side are 24 x 32"):
        find_units(tmp_path, ONE)
    file.write_bytes(kept.replace(b"255", b"65535", 1))
    with pytest.raises(ImagesRefused, match=r"kept\.pgm: not a grey PNG or PGM"):
        find_units(tmp_path, ONE)


def test_a_list_says_it_exactly_and_nothing_else_is_looked_at(tmp_path: Path) -> None:
    put(tmp_path / "a.png", picture())
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "labels.csv").write_text("\ufeff" + HEAD + "7,side,a.png,crack\n", encoding="utf-8")
    assert names(tmp_path, ONE) == [("crack", "7", {"side": "a.png"})]


@pytest.mark.parametrize(
    ("files", "views", "told"),
    [
        ((), ONE, "{}: holds no unit"),
        (("loose.png",), ONE, "{}/loose.png: lies beside the folders"),
        (("good/a.txt",), ONE, "{}/good/a.txt: is not a .png or .pgm file"),
        (("good/side/a.txt",), ONE, "{}/good/side/a.txt: is not a .png or .pgm file"),
        (("good/a.png",), TWO, "{}/good/a.png: of which view? name it <unit>-<view>.png; views: body, crimp"),
        (("good/-body.png",), TWO, "{}/good/-body.png: of which view?"),
        (("good/a-top.png",), TWO, "{}/good/a-top.png: there is no view 'top' here; views: body, crimp"),
        (("good/top/a.png",), TWO, "{}/good/top: there is no view 'top' here"),
        (("good/a-body.png",), TWO, "{}/good/a-body.png: unit 'a' has no image of view crimp"),
        (("good/a.png", "good/b/c.png"), ONE, "{}/good/b: lies beside files"),
        (("good/a/c.png", "good/b.png"), ("a",), "{}/good/b.png: lies beside folders of views"),
        (("good/a-body.png", "good/a-crimp.png", "good/a-crimp.PNG"), TWO, "unit 'a' has view crimp twice"),
    ],
)
def test_the_odd_file_is_named(tmp_path: Path, files: tuple[str, ...], views: tuple[str, ...], told: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        put(tmp_path / "image.png", picture()).rename(tmp_path / name)
    with pytest.raises(ImagesRefused) as refused:
        find_units(tmp_path, views)
    assert told.format(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_empty_class_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    with pytest.raises(ImagesRefused, match=r"good: the folder of this class is empty"):
        find_units(tmp_path, ONE)
    with pytest.raises(ImagesRefused, match=r"absent: No such file or directory; name a folder of images"):
        find_units(tmp_path / "absent", ONE)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("unit,view,file\n", "labels.csv: its first line must name the columns unit,view,file,class"),
        ("", "labels.csv: its first line must name"),
        (HEAD + "7,side,a.png\n", "labels.csv, line 2: needs unit, view, file and class"),
        (HEAD + "7,side,a.png,crack,x\n", "labels.csv, line 2: needs unit, view, file and class"),
        (HEAD + "7,side,,crack\n", "labels.csv, line 2: needs unit, view, file and class"),
        (HEAD + "7,side,a.png,good\n7,side,b.png,crack\n", "labels.csv, line 3: unit '7' is of class good above"),
        (HEAD + "7,side,a.png,good\n8,side,a.png,good\n", "labels.csv, line 3: a.png is listed above"),
        (HEAD + "7,side,a.png,good\n7,side,b.png,good\n", "b.png: unit '7' has view side twice"),
        (HEAD + "7,top,a.png,good\n", "a.png: there is no view 'top' here; views: side"),
        (HEAD + "7,side,absent.png,good\n", "absent.png: No such file or directory"),
        (HEAD + '7,side,"a.png,good\n', "labels.csv: not a CSV file in UTF-8"),
    ],
)
def test_the_odd_line_of_a_list_is_named(tmp_path: Path, text: str, told: str) -> None:
    for name in ("a.png", "b.png"):
        put(tmp_path / name, picture())
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ImagesRefused) as refused:
        find_units(tmp_path, ONE)
    assert told in str(refused.value)


def test_a_list_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(HEAD.encode() + b"7,side,\xe4.png,good\n")
    with pytest.raises(ImagesRefused, match="not a CSV file in UTF-8"):
        find_units(tmp_path, ONE)


def test_images_of_another_size_colour_depth_or_kind_are_named(tmp_path: Path) -> None:
    put(tmp_path / "good" / "a.png", picture())
    odd = tmp_path / "good" / "b.png"
    for frame, told in (
        (picture()[:-1], "b.png: is 32 x 23, others of view side are 32 x 24"),
        (np.dstack([picture()] * 3), "b.png: not a grey PNG or PGM of 8 bits"),
        (picture().astype(np.uint16), "b.png: not a grey PNG or PGM of 8 bits"),
    ):
        put(odd, frame)
        with pytest.raises(ImagesRefused, match=told):
            find_units(tmp_path, ONE)
    odd.write_bytes(b"GIF89a")
    with pytest.raises(ImagesRefused, match=r"b\.png: not a grey PNG"):
        find_units(tmp_path, ONE)


def test_a_damaged_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    whole = put(tmp_path / "good" / "a.png", picture())
    frame, raw = read_frame(whole)
    assert (frame == picture()).all()
    assert raw == whole.read_bytes()
    whole.write_bytes(raw[:60])
    assert find_units(tmp_path, ONE)
    with pytest.raises(ImagesRefused, match=r"a\.png: cannot be read as a grey PNG"):
        read_frame(whole)
    with pytest.raises(ImagesRefused, match=r"absent\.png: cannot be read"):
        read_frame(tmp_path / "absent.png")
