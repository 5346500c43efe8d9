"""What a list of runs needs of a file is read quickly, whatever else is in the file."""

from pathlib import Path

import pytest

from pytest_servebench.errors import SavedRunError
from pytest_servebench.runs.run_json import read_heading
from simulation import saved


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-be"])
@pytest.mark.parametrize("added", ["1e400", "9" * 400, '"\\ud800"', "NaN"])
def test_what_orjson_does_not_read_is_read_all_the_same(
    tmp_path: Path, encoding: str, added: str
) -> None:
    file = saved.save(saved.queue_run(number=50), tmp_path)
    heading, _ = read_heading(file)
    file.write_bytes(file.read_text().replace("{", f'{{"odd": {added},', 1).encode(encoding))
    if added == "NaN":
        with pytest.raises(SavedRunError, match="NaN, which is not a JSON number"):
            read_heading(file)
    else:
        assert read_heading(file)[0] == heading


def test_what_is_nested_too_deep_is_refused_in_one_line(tmp_path: Path) -> None:
    file = saved.save(saved.queue_run(number=50), tmp_path)
    whole = file.read_text()
    for levels in (500, 100_000):
        nested = "[" * levels + "]" * levels
        file.write_text(whole.replace("{", f'{{"deep": {nested},', 1))
        if levels == 500:
            assert read_heading(file)[0].cases
            continue
        with pytest.raises(SavedRunError) as error:
            read_heading(file)
        assert "\n" not in str(error.value)
