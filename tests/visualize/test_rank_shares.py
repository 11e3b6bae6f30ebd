import numpy as np
import pytest

from minivl.visualize.rank_shares import LOCAL, local, rank_shares, share, whole


def test_two_local_ranks_leave_the_other_blocks_unseen():
    owners = local(2)
    assert owners[..., 0].tolist() == [[0, 0, -1, -1]] * 2 + [[-1, -1, 1, 1]] * 2
    assert (owners[..., 0] == owners[..., 1]).all()


def test_global_ranks_together_ask_both_questions_of_every_cell_once():
    shares = [share(3, rank) >= 0 for rank in range(2)]
    assert (shares[0].astype(int) + shares[1] == 1).all()
    assert (whole(6) >= 0).all()


def test_a_global_rank_owns_its_rows_and_its_columns():
    owners = share(2, 1)
    assert owners[..., 0].tolist() == [[-1] * 4] * 2 + [[1] * 4] * 2
    np.testing.assert_array_equal(owners[..., 1], owners[..., 0].T)


def test_labels_start_at_the_offset_only_with_the_global_loss(texts):
    words = texts(rank_shares(2))
    notes = [word for word in words if word.startswith("labels")]
    assert notes == ["labels 0, 1, 2, 3", "labels 0, 1, 0, 1", "labels 0, 1", "labels 2, 3"]
    assert LOCAL in words


@pytest.mark.parametrize("rows", [2, 3])
def test_legible(rows, check_legible):
    check_legible(rank_shares(rows))
    assert f"its labels start at {rows}" in rank_shares(rows).caption.alt
