from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch

from edit_lit.facts.request import fact_hash
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import copy_probes, read_names, read_probes, write_probe
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.probe import Probe
from edit_lit.utilities.errors import ConfigError


def probed(folder, steps):
    language_model, made = tiny.llama(), tiny.requests()
    requests = {Pool.EDITED: made[:2], Pool.INTRINSIC: made[2:]}
    outcomes = {
        pool: Probe(of_pool, language_model.tokenizer, pool).run(language_model) for pool, of_pool in requests.items()
    }
    for step in steps:
        write_probe(folder, step, outcomes, requests)
    return outcomes


def test_records_come_back_as_they_were(tmp_path):
    outcomes = probed(tmp_path, [100, 0, BEFORE_EDIT])
    read = read_probes(tmp_path)
    assert {pool: list(steps) for pool, steps in read.items()} == {pool: [BEFORE_EDIT, 0, 100] for pool in outcomes}
    for pool, expected in outcomes.items():
        for name, tensor in expected.tensors().items():
            torch.testing.assert_close(read[pool][100].tensors()[name], tensor, equal_nan=True, rtol=0, atol=0)


def test_the_folder_is_one_table_for_any_reader(tmp_path):
    outcomes = probed(tmp_path, [0, 50])
    table = pq.read_table(tmp_path)
    assert table.num_rows == 2 * sum(len(rows) for rows in outcomes.values())
    row = table.slice(0, 1).to_pylist()[0]
    assert (row["subject"], row["kind"], row["pool"], row["step"]) == ("Oslo", "rewrite", "edited", 0)
    assert row["nll_answer"] == float(outcomes[Pool.EDITED].nll[0, 0])


def test_a_record_names_its_facts_by_content_and_by_id(tmp_path):
    probed(tmp_path, [BEFORE_EDIT, 0])
    made = tiny.requests()
    names = read_names(tmp_path, [Pool.INTRINSIC, Pool.EDITED])
    assert names[Pool.EDITED].fact == [fact_hash(fact) for fact in made[:2]]
    assert names[Pool.INTRINSIC].fact == [fact_hash(fact) for fact in made[2:]]
    assert names[Pool.EDITED].subject == [fact.subject for fact in made[:2]]
    assert names[Pool.INTRINSIC].id == [fact.id for fact in made[2:]]
    with pytest.raises(ConfigError, match="holds no probe records of unedited facts"):
        read_names(tmp_path, [Pool.UNEDITED])


@pytest.mark.parametrize("column", ["nll_answer", "exact_alternative", "request", "kind"])
def test_a_record_with_gaps_is_damaged(tmp_path, column):
    probed(tmp_path, [0])
    path = tmp_path / "step_000000000.parquet"
    table = pq.read_table(path)
    gap = pa.array([None, *table[column].to_pylist()[1:]], table.schema.field(column).type)
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, gap), path)
    with pytest.raises(ConfigError, match="is no whole record of a probe"):
        read_probes(tmp_path)


def test_a_continued_run_takes_over_earlier_records_only(tmp_path):
    probed(tmp_path / "old", [BEFORE_EDIT, 0, 10, 20])
    copy_probes(tmp_path / "old", tmp_path / "new", last_step=10)
    assert list(read_probes(tmp_path / "new")[Pool.EDITED]) == [BEFORE_EDIT, 0, 10]
    with pytest.raises(ValueError, match="holds no probe records"):
        read_probes(tmp_path / "nothing")
