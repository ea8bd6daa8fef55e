from gristmill.engine.pace import Pace


def test_groups_double_while_they_are_done_quickly_up_to_the_most():
    pace = Pace(256)
    assert pace.group_records == 128
    pace.step(128, 0.5)
    assert pace.group_records == 256
    pace.step(256, 0.5)
    assert pace.group_records == 256


def test_groups_halve_while_they_take_long_down_to_32():
    pace = Pace(256)
    sizes = []
    for _ in range(3):
        pace.step(pace.group_records, 100)
        sizes.append(pace.group_records)
    assert sizes == [64, 32, 32]


def test_a_group_that_takes_neither_long_nor_short_changes_nothing():
    pace = Pace(256)
    pace.step(128, 10)
    assert pace.group_records == 128


def test_the_last_few_records_say_nothing():
    pace = Pace(256)
    pace.step(127, 0.01)
    pace.step(0, 0.01)
    assert pace.group_records == 128


def test_groups_of_fewer_than_32_stay_as_they_are():
    pace = Pace(3)
    pace.step(3, 0.01)
    pace.step(3, 100)
    assert pace.group_records == 3
