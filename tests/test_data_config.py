"""Settings of the data: concepts and splits."""

from __future__ import annotations

import pytest

from tenuto.config import DataConfig, FolderConfig, RunConfig, parse_yaml, signature, to_yaml
from tenuto.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "dataset"),
    [({}, "midlevel"), ({"dataset": "midlevel"}, "midlevel"), ({"dataset": "synthetic"}, "synthetic")],
)
def test_human_concepts_are_a_property_of_the_data_set_and_no_setting(content, dataset):
    assert DataConfig.parse({**content, "concepts": "midlevel"}, "a test") == DataConfig(dataset=dataset)


def test_a_folder_has_no_human_concepts_but_columns():
    with pytest.raises(ConfigError, match=r"name the concept columns of your own table \(`concepts="):
        DataConfig.parse({"dataset": "folder", "concepts": "midlevel"}, "a test")


def test_signal_concepts_need_no_columns():
    table = FolderConfig(emotions=("joy",), concepts=("roughness",))
    bare = FolderConfig(emotions=("joy",))
    expected = DataConfig(dataset="folder", concepts="signal", folder=bare)
    assert DataConfig(dataset="folder", concepts="signal", folder=table) == expected
    content = {"dataset": "folder", "concepts": "signal", "folder": table.model_dump(mode="json")}
    assert DataConfig.parse(content, "a test") == expected


@pytest.mark.parametrize("content", [{"concepts": "sginal"}, {"folder": {"concepts": ["sginal"]}}])
def test_an_unknown_source_of_concepts_is_answered_with_the_known(content):
    with pytest.raises(ConfigError, match=r"'?signal'?.* '?midlevel"):
        DataConfig.parse(content, "a test")


def test_signal_concepts_have_a_signature_of_their_own_and_leave_others_alone():
    plain, signal = RunConfig(), RunConfig(data=DataConfig(concepts="signal"))
    assert signature(signal, "data") != signature(plain, "data")
    assert "concepts" not in to_yaml(plain)
    assert RunConfig.parse(parse_yaml(to_yaml(signal), "a test"), "a test") == signal


@pytest.mark.parametrize("split", ["group:", "album:x", "papers", 3, "official:", ""])
def test_a_split_is_a_known_name_or_a_table(split):
    with pytest.raises(
        ConfigError, match="split: must be one of paper, random, album, artist, group, official, "
    ):
        DataConfig.parse({"split": split}, "test")


@pytest.mark.parametrize("split", ["paper", "artist", "group", "group:jazz", "official:2013"])
def test_splits_by_name(split):
    assert DataConfig.parse({"split": split}, "test").split == split


def test_the_path_of_a_split_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert DataConfig.parse({"split": "own.csv"}, "test").split == str(tmp_path / "own.csv")
