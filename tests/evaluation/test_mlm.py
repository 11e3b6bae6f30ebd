import pytest
import torch

from minivl.data.examples import SceneData
from minivl.data.pack import Pack
from minivl.data.texts import TextData, TextSource
from minivl.evaluation.mlm import by_neighbours, evaluate_mlm
from minivl.models.mlm import Mlm
from minivl.nn.bert import Bert


def batch(ids, asked):
    ids = torch.tensor(ids)
    labels = torch.where(torch.tensor(asked).bool(), ids, -100)
    return {"input_ids": ids, "mlm_labels": labels}


def test_the_table_of_neighbours_names_what_stood_most_often_between_them():
    rows = [(1, 5, 6, 7, 2), (1, 5, 6, 7, 2), (1, 5, 8, 7, 2), (1, 9, 8, 3, 2)]
    # 6 is likeliest between 5 and 7; between 9 and 7 only the 9 is known: 8; 4 is not known.
    texts = ([1, 5, 6, 7, 2], [1, 5, 8, 7, 2], [1, 9, 8, 7, 2], [1, 4, 8, 7, 2])
    asked = [batch([text], [[0, 0, 1, 0, 0]]) for text in texts]
    metric = by_neighbours(rows, asked, 0.3)
    assert (metric.value, metric.n, metric.chance) == (0.5, 4, 0.3)


def test_hidden_words_of_texts_not_read_are_judged():
    data = TextData(topics=("noun.food",), vocabulary_size=600, max_length=16)
    source = TextSource(Pack.load(), data, SceneData(image_size=32))
    torch.manual_seed(0)
    words = len(source.text)
    model = Mlm(Bert(vocab_size=words, width=16, depth=1, heads=2, max_length=16)).eval()
    with torch.no_grad():
        found = evaluate_mlm(source, model, torch.device("cpu"), 24)
        again = evaluate_mlm(source, model, torch.device("cpu"), 24)
    assert found == again
    assert set(found) == {
        "glosses/mlm/accuracy",
        "glosses/mlm/top5",
        "glosses/mlm/by_neighbours",
        "captions/mlm/accuracy",
        "captions/mlm/top5",
    }
    neighbours = found["glosses/mlm/by_neighbours"]
    assert neighbours.chance == found["glosses/mlm/accuracy"].chance
    assert neighbours.n == found["glosses/mlm/accuracy"].n
    assert neighbours.value > neighbours.chance
    assert found["glosses/mlm/accuracy"].value == pytest.approx(0.0, abs=0.2)
