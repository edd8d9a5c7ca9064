"""A new project starts with a config that works and says what every key means."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import scaffold
from pipeline.config import SHIPPED_CONFIGS, load_config
from pipeline.errors import UsageError
from stages import ROAD


def test_a_new_config_is_valid_and_reads_the_folder(tmp_path: Path) -> None:
    path = scaffold.create("my-model", tmp_path, "papers/mine")
    loaded = load_config(path, ROAD, detect="cpu")
    assert (path, loaded.name, loaded.base) == (tmp_path / "my-model.yaml", "my-model", tmp_path)
    (source,) = loaded.sections["gather"].model_dump()["sources"]
    assert (source["folder"], source["license"], source["include"]) == ("papers/mine", "LicenseRef-mine", ("*",))
    assert (tmp_path / "papers" / "mine").is_dir()


def test_all_but_the_name_and_the_sources_is_the_shipped_config(tmp_path: Path) -> None:
    shipped = (SHIPPED_CONFIGS / "micropython.yaml").read_text().splitlines()
    written = scaffold.create("mine", tmp_path, "docs").read_text().splitlines()
    added = [line for line in difflib.ndiff(shipped, written) if line.startswith("+ ")]
    assert len(added) == 5 and added[0] == "+ # pipeline run --config mine.yaml"
    assert added[1].startswith('+ name: "mine" ') and "#" in added[1]
    gone = [line for line in difflib.ndiff(shipped, written) if line.startswith("- ")]
    assert len(gone) == len(shipped) - len(written) + 5


@given(
    name=st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,9}\Z") | st.sampled_from(["null", "no", "123", "1e5", "0x1f", "1.5"])
)
@settings(max_examples=25, deadline=None)
def test_every_allowed_name_stays_a_name(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("new")
    assert load_config(scaffold.create(name, folder, "docs"), ROAD, detect="cpu").name == name


@pytest.mark.parametrize(
    "sources", ["my docs: all # of them", "ü/ö", "'a'", '"', "- x", "{a}", "&x", "*", "a\\b", "no", "🙂"]
)
def test_every_folder_name_stays_what_it_is(tmp_path: Path, sources: str) -> None:
    loaded = load_config(scaffold.create("mine", tmp_path, sources), ROAD, detect="cpu")
    assert loaded.sections["gather"].model_dump()["sources"][0]["folder"] == sources


def test_an_existing_config_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    with pytest.raises(UsageError, match=r"mine\.yaml is there already") as caught:
        scaffold.create("mine", tmp_path, "docs")
    assert caught.value.hint == "pipeline run --config mine.yaml"
    assert (tmp_path / "mine.yaml").read_text() == "precious"


@pytest.mark.parametrize("name", ["", "My", "-a", "a b", "../a", "a/b", "a\n", "é", "a" * 65])
def test_a_name_that_ollama_would_refuse_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        scaffold.create(name, tmp_path, "docs")
    assert list(tmp_path.iterdir()) == []
