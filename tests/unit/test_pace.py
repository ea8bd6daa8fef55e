from gristmill.engine.pace import Pace


def grown() -> Pace:
    pace = Pace(256, least=32)
    for _ in range(3):
        pace.step(pace.group_records, 0.01)
    return pace


def test_groups_double_while_they_are_done_quickly_up_to_the_most():
    pace = Pace(256, least=32)
    sizes = [pace.group_records]
    for _ in range(4):
        pace.step(pace.group_records, 0.5)
        sizes.append(pace.group_records)
    assert sizes == [32, 64, 128, 256, 256]


def test_groups_halve_while_they_take_long_down_to_32():
    pace = grown()
    sizes = []
    for _ in range(4):
        pace.step(pace.group_records, 100)
        sizes.append(pace.group_records)
    assert sizes == [128, 64, 32, 32]


def test_a_time_that_is_slow_for_several_groups_counts_once():
    pace = grown()
    for _ in range(3):
        pace.step(256, 100)
    assert pace.group_records == 128


def test_a_group_that_takes_neither_long_nor_short_changes_nothing():
    pace = grown()
    pace.step(256, 10)
    assert pace.group_records == 256


def test_the_last_few_records_say_nothing():
    pace = Pace(256, least=32)
    pace.step(31, 0.01)
    pace.step(0, 0.01)
    assert pace.group_records == 32


def test_groups_of_fewer_than_32_stay_as_they_are():
    pace = Pace(3, least=32)
    pace.step(3, 0.01)
    pace.step(3, 100)
    assert pace.group_records == 3
