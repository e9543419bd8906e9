"""The slots process: the one writer of the store of bundles and recipes. Runs to completion and ends.

Started by its path unit when a request lies there, in a checkout by the command line. What a power cut left undone is
done first; every request is answered in a file, and its row was sent to the recorder before.
"""

import fcntl
import os
import pwd
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from daemon import config
from daemon.config import ConfigError, Station
from daemon.slots.acts import Acts
from daemon.slots.book import Book, Recorder
from daemon.slots.shop import Shop
from daemon.store_requests import (
    ANSWERS,
    CARRIED,
    GROUP_MAY_READ,
    REPORTS,
    REQUESTS,
    STORE,
    SUFFIX,
    RequestUnreadable,
    Response,
    What,
    new_id,
    read_report,
    read_request,
)
from engines.golden import check_golden
from signing.durable import sync_directory, write_durably
from signing.errors import SigningError

EXIT_CONFIG, EXIT_AGAIN = 78, 75
SOCKET, LOCK = "recorder.sock", "lock"
ANSWERS_KEPT = 200


def main(station_path: Path) -> int:
    """Do everything that is asked for and return the exit status (78: a person has to look, 75: try again later).

    Called by: `python -m daemon slots STATION`.
    """
    try:
        station, state, runtime = config.load(station_path), config.state_dir(), config.runtime_dir()
        with locked(state / STORE):
            done = serve(station, state, Recorder(runtime / SOCKET, station.name))
    except (ConfigError, SigningError, OSError) as error:
        say(str(error))
        return EXIT_CONFIG
    return 0 if done else EXIT_AGAIN


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Be the only writer of the store; waits for another one to end.

    Raises:
        OSError: there is no store.
    """
    fd = os.open(store / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def serve(station: Station, state: Path, recorder: Recorder) -> bool:
    """Do what is due, then every request, oldest first; each is on record, or owed to it, before it is answered.

    False while a report of vision still lies there: the path unit would start slots again at once, for ever.
    """
    book = Book(state / STORE)
    acts = Acts(Shop(station, state, book, recorder, check_golden))
    acts.tidy()
    book.deliver(recorder)
    _do_due(acts, state)
    for path in _waiting(state / REQUESTS):
        _serve_one(acts, book, recorder, path)
    _do_due(acts, state)
    book.deliver(recorder)
    book.forget({path.stem for path in _waiting(state / REQUESTS)})
    acts.tidy()
    _drop_old_answers(state / ANSWERS)
    return not _waiting(state / REPORTS)


def _do_due(acts: Acts, state: Path) -> None:
    """Take what vision said, then what waited for the end of a batch; without readable records both wait on."""
    try:
        _take_reports(acts, state)
        acts.catch_up()
    except SigningError as error:
        say(f"what is due waits: {error}")


def _serve_one(acts: Acts, book: Book, recorder: Recorder, path: Path) -> None:
    try:
        request, owner = read_request(path)
    except RequestUnreadable as error:
        say(f"a request was thrown away: {error}")
        _remove(path)
        return
    answer = book.answered(request.id)
    if answer is None and request.what is not What.WAKE:
        answer = acts.perform(request, _who(owner, request.actor))
    book.deliver(recorder)
    if answer is not None:
        said = answer.text if not book.state.owed else f"{answer.text} (on record once the recorder is back)"
        _answer(path.parent.parent / ANSWERS, request.id, Response(answer.ok, said))
        say(f"{request.what} by {request.actor}: {'done' if answer.ok else 'refused'}: {said}")
    _remove(path)


def _answer(folder: Path, request: str, answer: Response) -> None:
    folder.mkdir(exist_ok=True)
    write_durably(folder / f"{request}{SUFFIX}", msgspec.json.encode(answer) + b"\n", GROUP_MAY_READ)


def _who(owner: int, actor: str) -> str:
    """Return whose act it is: the owner of the file; what he calls himself beside it where that differs."""
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"uid {owner}"
    return name if actor in (name, "") else f"{name} for {actor}"


def _waiting(folder: Path) -> list[Path]:
    """Return the requests that lie there, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.lstat().st_mtime_ns, path.name))


def _take_reports(acts: Acts, state: Path) -> None:
    for path in _waiting(state / REPORTS):
        try:
            report = read_report(path)
            taken = acts.vision_said(report.generation, report.ok, report.text)
        except RequestUnreadable as error:
            say(f"a report of vision was thrown away: {error}")
            taken = True
        if taken:
            _remove(path)


def _remove(path: Path) -> None:
    """Take a request or report away, what it carried first; a folder that cannot be removed is hidden."""
    shutil.rmtree(path.with_name(f"{path.stem}{CARRIED}"), ignore_errors=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            path.rename(path.with_name(f".{new_id()}"))
    else:
        path.unlink(missing_ok=True)
    sync_directory(path.parent)


def _drop_old_answers(folder: Path) -> None:
    answers = _waiting(folder)
    for path in answers[: max(0, len(answers) - ANSWERS_KEPT)]:
        path.unlink(missing_ok=True)


def say(text: str) -> None:
    print(f"slots: {text}", file=sys.stderr, flush=True)
