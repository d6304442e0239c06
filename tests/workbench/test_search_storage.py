"""Databases of a search: what is none is refused in one sentence and left as it was."""

import os
import re
import sqlite3

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from workbench import search_storage
from workbench.cli import run
from workbench.search_storage import open_storage
from workbench.study import read_studies


def test_a_storage_without_a_search_is_refused_in_one_sentence(tmp_path):
    url = f"sqlite:///{tmp_path}/empty.db"
    optuna.create_study(storage=open_storage(url), study_name="somebody else's")
    with pytest.raises(ValueError, match="holds no search with a completed trial; run workbench search"):
        read_studies(url)


def _written(path, script):
    with sqlite3.connect(path) as database:
        database.executescript(script)
    database.close()


def _sqlite_of_somebody(path):
    _written(path, "create table notes(a); insert into notes values (1)")


def _search_that_would_never_end(path):
    """SQLite runs a view when it is read."""
    open_storage(f"sqlite:///{path}").remove_session()
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n) select i as study_id, '' as study_name from n"
    renamed = "alter table studies rename to old_studies"
    _written(path, f"pragma journal_mode = delete; {renamed}; create view studies as {numbers}")


def _search_with_a_trigger(path):
    open_storage(f"sqlite:///{path}").remove_session()
    _written(path, "create trigger late after insert on trials begin delete from studies; end")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (_search_that_would_never_end, "holds no search; give that of `workbench search`"),
        (_search_with_a_trigger, "holds no search; give that of `workbench search`"),
        (lambda path: None, "cannot open the storage .*No such file"),
        (lambda path: path.touch(), "holds no search; give that of `workbench search`"),
        (_sqlite_of_somebody, "holds no search; give that of `workbench search`"),
        (os.mkfifo, "cannot open the storage .*it is no plain file"),
    ],
    ids=["view", "trigger", "absent", "empty", "somebody's", "pipe"],
)
def test_what_is_no_search_is_refused_and_left_as_it_was(tmp_path, make, problem):
    path = tmp_path / "some.db"
    make(path)
    before = [(one.name, one.is_file() and one.read_bytes()) for one in tmp_path.iterdir()]
    with pytest.raises(ValueError, match=problem):
        read_studies(f"sqlite:///{path}")
    assert [(one.name, one.is_file() and one.read_bytes()) for one in tmp_path.iterdir()] == before


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_storage_in_memory_is_refused(url):
    with pytest.raises(ValueError, match="cannot open the storage .* .it names no file.; give sqlite:///FILE"):
        open_storage(url)


@pytest.mark.parametrize("url", ["postgresql://me:secret@host:port/x", "me:secret@host"])
def test_what_is_no_url_is_refused_without_its_password(url):
    with pytest.raises(ValueError, match="cannot open the storage .*; give sqlite:///FILE") as refused:
        read_studies(url)
    assert "secret" not in str(refused.value)


def _studies_of_somebody(path):
    _written(path, "create table studies(patient); create table trials(outcome); insert into studies values (1)")


@pytest.mark.parametrize("make", [_sqlite_of_somebody, _studies_of_somebody])
def test_no_table_is_made_in_another_programs_database(tmp_path, capsys, make):
    path = tmp_path / "some.db"
    make(path)
    before = path.read_bytes()
    assert run(["search", "set-complement", "--storage", f"sqlite:///{path}", "--trials", "1"]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert re.search(
        r"^workbench: cannot open the storage sqlite:///.*some.db \(it holds another program's table \w+, and no search\); "
        "give sqlite:///FILE or postgresql",
        told,
    )
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["some.db"]


@pytest.mark.parametrize("kept", [0, 1, 5, 20])
def test_a_search_whose_tables_are_still_being_made_is_joined(tmp_path, kept):
    url = f"sqlite:///{tmp_path}/search.db"
    open_storage(url).remove_session()
    with sqlite3.connect(tmp_path / "search.db") as database:
        names = [name for (name,) in database.execute("select name from sqlite_master where type = 'table' order by rowid")]
        database.executescript("".join(f"drop table {name};" for name in reversed(names[kept:])))
    database.close()
    assert optuna.get_all_study_names(open_storage(url)) == []


def test_nobody_reads_a_trial_that_another_has_read_and_is_about_to_change(tmp_path, monkeypatch):
    """A worker completes its trial; between its reading and its writing another takes the trial for stale and fails it."""
    url = f"sqlite:///{tmp_path}/search.db"
    worker = open_storage(url)
    trial = worker.create_new_trial(worker.create_new_study([optuna.study.StudyDirection.MINIMIZE], "search"))
    monkeypatch.setattr(search_storage, "WAIT_FOR_LOCK_SECONDS", 0)  # where another would wait, it is told so at once
    other = open_storage(url)
    read_by_other, told_other = [], []
    sa.event.listen(other.engine, "after_cursor_execute", lambda *of: read_by_other.append(of[2]))

    def let_the_other_try(connection, cursor, statement, *rest):
        if "FROM trials" in statement and not told_other:
            told_other.append("nothing yet")
            with pytest.raises(StorageInternalError) as refused:
                other.set_trial_state_values(trial, TrialState.FAIL)
            told_other[0] = search_storage.reason(refused.value)

    sa.event.listen(worker.engine, "after_cursor_execute", let_the_other_try)
    assert worker.set_trial_state_values(trial, TrialState.COMPLETE, [0.25])
    assert told_other == ["database is locked"] and read_by_other == []
    with pytest.raises(UpdateFinishedTrialError):
        other.set_trial_state_values(trial, TrialState.FAIL)
    assert read_by_other and other.get_trial(trial).value == 0.25
