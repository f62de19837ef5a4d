"""A user's own folder."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from tenuto.data import Folder
from tenuto.errors import ConfigError, DataError, FileError
from tests import corpora
from tests.corpora import edit


@pytest.fixture
def own(tmp_path):
    return corpora.folder(tmp_path / "own")


def changed(own, **options):
    known = {
        "ratings_file": "table.csv",
        "id_column": "song",
        "emotions": ("arousal", "joy"),
        "scale": (1.0, 7.0),
    }
    return Folder(own.root, **{**known, **options})


def test_names_match_with_or_without_file_type(own):
    index = own.index
    assert index.clips[:2] == ("disc 0/song 0", "disc 1/song 1")
    assert index.emotions == ("arousal", "joy")
    assert index.concepts == ("roughness",)
    assert sorted(set(index.albums)) == ["r0", "r1", "r2", "r3"]


def test_concepts_and_albums_are_optional(own):
    index = changed(own).index
    assert index.concept_labels is None
    assert index.albums is None


def test_no_emotions_named(own):
    with pytest.raises(DataError, match="`emotions=valence"):
        changed(own, emotions=())


@pytest.mark.parametrize("scale", [(3, 3), (5, 1), (-2, -1)])
def test_impossible_scale(own, scale):
    with pytest.raises(DataError, match="rating scale"):
        changed(own, scale=scale)


def test_rated_but_absent_recording_names_the_nearest(own):
    edit(own.root / "table.csv", "disc 0/song 4,", "disc 0/song 44,")
    with pytest.raises(DataError, match=r"rates disc 0/song 44, .* Did you mean disc 0/song 4\?"):
        _ = own.index


def test_two_files_of_one_name_need_the_file_type_in_the_table(own):
    corpora.write_audio(own.root / "disc 0" / "song 0.flac", 1)
    with pytest.raises(
        DataError, match=r"song 0\.wav: shares its name with .*song 0\.flac.* write the file type"
    ):
        _ = own.index
    for suffix in (".flac", ".wav"):
        edit(own.root / "table.csv", "disc 0/song 0,", f"disc 0/song 0{suffix},")
        reopened = changed(own)
        assert reopened.index.clips[0] == "disc 0/song 0"
        assert reopened.index.paths[0].suffix == suffix
        edit(own.root / "table.csv", f"song 0{suffix},", "song 0,")


def test_two_files_of_one_name_without_ratings_do_not_matter(own):
    for suffix in ("flac", "wav"):
        corpora.write_audio(own.root / f"unrated.{suffix}", 1)
    assert len(own.index) == 12


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_match_however_they_are_composed(own, form, other):
    name = "disc 0/caf\u00e9"
    (own.root / "disc 0" / "song 0.wav").rename(own.root / f"{unicodedata.normalize(form, name)}.wav")
    edit(own.root / "table.csv", "disc 0/song 0,", f"{unicodedata.normalize(other, name)},")
    assert own.index.clips[0] == name
    assert own.index.paths[0].is_file()


def test_folders_behind_symbolic_links_are_searched_without_loops(own, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "music"
    (own.root / "disc 0").rename(elsewhere)
    (own.root / "disc 0").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "back").symlink_to(own.root, target_is_directory=True)
    index = own.index
    assert index.clips[0] == "disc 0/song 0"
    assert all(path.is_file() for path in index.paths)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("=1+1", "begins with ="),
        ("@x", "begins with @"),
        ("-x", "begins with -"),
        ("+x", "begins with [+]"),
        ('"a\nb"', "line end"),
        ("a\tb", "control character"),
        ("", "is empty"),
    ],
)
def test_names_that_no_table_can_hold_safely_are_refused(own, name, reason):
    edit(own.root / "table.csv", "disc 0/song 0,", f"{name},")
    with pytest.raises(DataError, match=rf"table\.csv: clip name '.*' \(row 1\) .*{reason}") as error:
        _ = own.index
    assert "\n" not in str(error.value)


def test_validate_lists_every_problem_of_table_and_recordings(own):
    edit(own.root / "table.csv", "song,arousal,joy,roughness,record", "song,arousal,JOY,roughness,record")
    lines = (own.root / "table.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    cells[1][1], cells[2][1], cells[3][3] = "abc", "7.5", "inf"
    cells[4].append("9")
    cells[5][0] = cells[6][0]
    cells[7][0], cells[8][0] = "ghost", ""
    (own.root / "table.csv").write_text("\n".join(map(",".join, cells)) + "\n")
    cut = own.root / "disc 1" / "song 11.ogg"
    cut.write_bytes(b"OggS")
    validation = own.validate()
    parts = (
        "no column joy",
        "line 5 has 6 fields",
        "rates ghost",
        "clip disc 1/song 5 is listed twice",
        "clip name ''",
        "arousal of clip disc 0/song 0 is abc",
        "7.5, outside the scale 1 to 7",
        "roughness of clip disc 0/song 2 is inf",
    )
    for part in parts:
        assert sum(part in sentence for sentence in validation.inconsistent) == 1, part
    assert len(validation.inconsistent) == len(parts)
    assert [str(cut) in sentence for sentence in validation.altered] == [True]
    with pytest.raises(FileError, match=r"no column joy.*\(and 7 more problems\)"):
        _ = own.index


def test_validate_lists_a_table_without_rows_once(own):
    table = own.root / "table.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    assert own.validate().inconsistent == (f"{table}: has a header but no rows.",)


def test_folder_without_recordings(tmp_path):
    (tmp_path / "table.csv").write_text("song,arousal\na,2\n")
    with pytest.raises(DataError, match="contains no recording"):
        _ = Folder(tmp_path, "table.csv", "song", ("arousal",), scale=(1, 7)).index


# Tables as people keep them


ROWS = (("one", "3.5", "2"), ("two", "2.5", "4"), ("three", "5", "1.5"))
COLUMNS = {"id_column": "song", "emotions": ("arousal", "joy"), "scale": (1.0, 7.0)}


def plain(root, text, names=("one.wav", "two.wav", "three.wav"), **options):
    """A folder with three recordings and this table."""
    for number, name in enumerate(names):
        corpora.write_audio(root / name, number + 1)
    (root / "table.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return Folder(root, "table.csv", **{**COLUMNS, **options})


def written(separator=",", decimal=".", header="song,arousal,joy", rows=ROWS, end="\n"):
    lines = [header.replace(",", separator)]
    lines += [separator.join(cell.replace(".", decimal) for cell in row) for row in rows]
    return end.join(lines) + end


@pytest.mark.parametrize(
    "text",
    [
        written(),
        written(";"),
        written(";", ","),
        written("\t"),
        written("\t", ","),
        written(end="\r"),
        written(end="\r\n"),
        written(header="song, arousal , joy"),
        written(";", ",", header="song; arousal;joy ", end="\r\n"),
        "\ufeff" + written(";", ","),
        "sep=;\r\n" + written(";", ",", end="\r\n"),
        "\ufeffSEP=,\n" + written(),
        "sep=\t\n" + written("\t", ","),
        "\n  \n;;\n" + written(";") + ";;\n;;\n",
        written(header='"song\n",arousal,joy').replace(",", ";"),
        'song,arousal,joy\none,"3,5","2"\ntwo,"2,5","4"\nthree,5,"1,5"\n',
    ],
)
def test_separators_decimal_commas_and_line_ends(tmp_path, text):
    index = plain(tmp_path, text).index
    assert index.clips == ("one", "two", "three")
    assert index.labels.tolist() == [[3.5 / 7, 2 / 7], [2.5 / 7, 4 / 7], [5 / 7, 1.5 / 7]]


def test_separator_and_decimal_mark_can_be_named(tmp_path):
    options = {"separator": "tab", "decimal": ","}
    assert plain(tmp_path, written("\t", ","), **options).index.labels[0, 0] == 0.5
    with pytest.raises(DataError, match=r"arousal of clip one is 3\.5, outside"):
        _ = plain(tmp_path, written("\t"), **options).index


def test_points_and_commas_mixed_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"arousal of clip two is 2,5, outside"):
        _ = plain(tmp_path, written(";").replace("2.5", "2,5")).index


@pytest.mark.parametrize("mark", [",", "."])
def test_thousands_separators_are_not_read_as_decimal_marks(tmp_path, mark):
    rows = [("one", f"1{mark}234", "987"), ("two", f"2{mark}500", "100"), ("three", "800", "7")]
    text = written(";", rows=rows, decimal=mark)
    with pytest.raises(DataError, match=rf"1\{mark}234 may be read with a thousands separator"):
        _ = plain(tmp_path, text, scale=(0, 5000)).index
    named = plain(tmp_path, text, scale=(0, 5000), decimal=mark)
    assert named.index.labels[0, 0] * 5000 == pytest.approx(1.234)
    assert plain(tmp_path, text.replace("987", f"98{mark}5"), scale=(0, 5000)).index.labels[0, 1] == 0.0197


@pytest.mark.parametrize("cell", ["-1", "high", "6.5"])
def test_deviations_that_cannot_be_are_refused(tmp_path, cell):
    rows = [(*row, "0.7", sd) for row, sd in zip(ROWS, ("", "NA", cell), strict=True)]
    made = plain(tmp_path, written(header="song,arousal,joy,sd1,sd2", rows=rows), deviations=("sd1", "sd2"))
    with pytest.raises(
        DataError, match=rf"sd2 of clip three is {cell}, and a standard deviation must be 0 to 6"
    ):
        _ = made.index


@pytest.mark.parametrize(
    "columns",
    [{"emotions": ("joy", "joy")}, {"concepts": ("joy",)}, {"deviations": ("joy", "sd")}],
)
def test_a_column_is_one_thing_only(tmp_path, columns):
    with pytest.raises(ConfigError, match="column joy is named twice"):
        plain(tmp_path, written(), **columns)


RATED = """song,rater,arousal,joy,record
one,a,1,2,x
one,b,3,,x
two,a,5,4,y
one,c,5,4,x
three,b,7,1,y
"""


@pytest.mark.parametrize("missing", ["", "NA", " n/a"])
def test_several_raters_become_a_mean_and_a_deviation(tmp_path, missing):
    made = plain(tmp_path, RATED.replace(",,", f",{missing},"), rater_column="rater", album_column="record")
    index = made.index
    assert index.clips == ("one", "two", "three")
    assert index.labels * 7 == pytest.approx(np.array([[3, 3], [5, 4], [7, 1]]))
    assert index.deviations[0] * 7 == pytest.approx([2, np.sqrt(2)])
    assert np.isnan(index.deviations[1:]).all()
    assert index.albums == ("x", "y", "y")


TIDY = """song;who;what;value;record
one;a;arousal;1,5;x
one;a;joy;2;x
one;a;other;99;x
one;b;arousal;2,5;x
one;b;joy;4;x
two;a;arousal;5;y
two;a;joy;3;y
"""
BY_RATING = {"emotion_column": "what", "rating_column": "value"}


def test_a_row_for_every_rating(tmp_path):
    index = plain(tmp_path, TIDY, rater_column="who", **BY_RATING).index
    assert index.labels * 7 == pytest.approx(np.array([[2, 3], [5, 3]]))
    assert index.deviations[0] * 7 == pytest.approx([np.sqrt(0.5), np.sqrt(2)])


@pytest.mark.parametrize("rater", [None, "who"])
def test_rows_of_ratings_that_contradict_themselves_are_refused(tmp_path, rater):
    options = {"album_column": "record", "rater_column": rater, **BY_RATING}
    text = TIDY if rater else TIDY.replace(";b;arousal", ";b;other").replace(";b;joy", ";b;other")
    with pytest.raises(DataError, match="clip one has two values of record, 'x' and 'z'"):
        _ = plain(tmp_path, text.replace("joy;2;x", "joy;2;z"), **options).index
    with pytest.raises(DataError, match=r"no row rates joy \(column what\)\. It has: arousal, Joy, other\.$"):
        _ = plain(tmp_path, text.replace("joy", "Joy"), **options).index


@pytest.mark.parametrize("rater", [None, "who"])
@pytest.mark.parametrize("other", ["Joy", "j oy"])
def test_a_rating_of_an_emotion_in_another_spelling_is_not_lost(tmp_path, rater, other):
    """The mean over raters would be that of the other raters."""
    text = TIDY if rater else TIDY.replace(";b;arousal", ";b;other").replace(";b;joy", ";b;other")
    one, rest = text.split("joy", 1)
    with pytest.raises(
        DataError, match=f"column what has '{other}', which differs from 'joy' in capitals or"
    ):
        _ = plain(tmp_path, one + other + rest, rater_column=rater, **BY_RATING).index


def test_emotions_without_a_rating_are_named_in_their_order(tmp_path):
    with pytest.raises(DataError) as caught:
        _ = plain(
            tmp_path,
            TIDY.replace("joy", "Joy").replace("arousal", "Arousal"),
            rater_column="who",
            **BY_RATING,
        ).index
    assert [sentence.split(" (")[0].split(": ")[1] for sentence in caught.value.sentences] == [
        *("no row rates arousal", "no row rates joy"),
    ]


def test_deviations_of_a_table_with_a_row_for_every_rating_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="deviations need a row per clip"):
        plain(tmp_path, TIDY, deviations=("sd1", "sd2"), **BY_RATING)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("one,b,3", "one,a,3", "rater 'a' rates clip one twice"),
        ("one,b,3", "one,a ,3", "rater 'a' rates clip one twice"),
        ("one,b,3,,x", "one,b,3,,z", "clip one has two values of record, 'x' and 'z'"),
        ("three,b,7,1", "three,b,7,", "no rater rates joy of clip three"),
        ("two,a,5", "two,a,8", "arousal of clip two is 8, outside the scale 1 to 7"),
        ("two,a,5", "two,a,many", "arousal of clip two is many, outside"),
        ("song,rater", "song,judge", "no column rater"),
    ],
)
def test_raters_that_contradict_themselves_are_refused(tmp_path, old, new, message):
    assert old in RATED
    made = plain(tmp_path, RATED.replace(old, new, 1), rater_column="rater", album_column="record")
    with pytest.raises((DataError, FileError), match=message):
        _ = made.index


def test_a_table_of_raters_without_their_column_names_it(tmp_path):
    with pytest.raises(DataError, match=r"one is listed twice.*rater_column"):
        _ = plain(tmp_path, RATED.replace("b,3,,", "b,3,1,")).index


def test_artists_groups_own_parts_and_deviations(tmp_path):
    header = "song,arousal,joy,who,genre,part,sd1,sd2"
    rows = [
        (*row, "Bill", "jazz", part, "0.7", "1.4")
        for row, part in zip(ROWS, ("train", "", "test"), strict=True)
    ]
    options = {
        "artist_column": "who",
        "group_column": "genre",
        "split_column": "part",
        "deviations": ("sd1", "sd2"),
    }
    index = plain(tmp_path, written(header=header, rows=rows), **options).index
    assert index.artists == ("bill",) * 3
    assert index.groups == ("jazz",) * 3
    assert index.official == {"own": ("train", "", "test")}
    assert index.deviations.tolist() == pytest.approx(np.array([[0.1, 0.2]] * 3))


def test_ids_without_folder_and_type_find_nested_recordings(tmp_path):
    names = ("a/deep/one.wav", "a/two.ogg", "b/three.flac")
    assert plain(tmp_path, written(), names).index.paths[0] == tmp_path / names[0]
    windows = written().replace("\none", "\ndeep\\one").replace("\ntwo", "\n./a/two.ogg")
    index = plain(tmp_path, windows, names).index
    assert index.paths[:2] == (tmp_path / names[0], tmp_path / names[1])


def test_an_id_that_fits_two_recordings_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"shares its name with .* and the folder"):
        _ = plain(tmp_path, written(), ("a/one.wav", "b/one.wav", "two.wav", "three.wav")).index


def test_two_names_of_one_recording_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"one and a/one are the same recording"):
        _ = plain(
            tmp_path, written(rows=(*ROWS, ("a/one", "2", "2"))), ("a/one.wav", "two.wav", "three.wav")
        ).index


def test_a_recording_behind_two_links_is_one_recording(tmp_path):
    made = plain(tmp_path, written(), ("a/one.wav", "a/two.wav", "a/three.wav"))
    (tmp_path / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    assert made.index.paths[0] == tmp_path / "a" / "one.wav"
