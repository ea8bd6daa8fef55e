"""The list of defects stays true to the source, so that ``make mutants`` plants what it says."""

from pathlib import Path

import pytest

from tests.mutants.defects import DEFECTS

SOURCE = Path(__file__).resolve().parents[2] / "src" / "gristmill"


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_can_be_planted_and_the_result_is_python(defect):
    source = (SOURCE / defect.folder / defect.file).read_text(encoding="utf-8")
    planted = defect.planted_in(source)
    assert planted != source
    compile(planted, defect.file, "exec")


def test_every_defect_has_a_name_of_its_own():
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 40
