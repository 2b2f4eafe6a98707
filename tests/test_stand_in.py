from tests import stand_in as stand_in_writer


def test_stand_in_is_the_same_every_time(stand_in, tmp_path):
    again = tmp_path / "again"
    stand_in_writer.main([str(again)])
    assert sorted(path.name for path in stand_in.iterdir()) == sorted(
        path.name for path in again.iterdir()
    )
    for path in stand_in.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
