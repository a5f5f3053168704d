"""The seam for texts: reading, preparing, batching and serving."""

import json

import pytest

import examples
import settings
import task


@pytest.fixture(scope="module")
def classifier(prepared):
    return task.Classifier.create(settings.load(), examples.Prepared(prepared / "train"), None)


def test_a_missing_column_is_named_with_those_there_are(tmp_path):
    (tmp_path / "reviews.csv").write_text("review,stars\ngood,5\n")

    with pytest.raises(ValueError, match=r"not in reviews.csv, which has: review, stars. Set \[task\] text"):
        list(task.read(tmp_path, settings.load()))


def test_a_batch_is_padded_to_its_longest_text_and_masked(classifier):
    batch = classifier.collate([{"text": "late"}, {"text": "the parcel came three days late"}])

    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["attention_mask"][0].sum() < batch["attention_mask"][1].sum() == batch["input_ids"].shape[1]


def test_a_separator_that_somebody_typed_stays_text(classifier):
    separator = classifier.tokenizer.sep_token_id

    ids = classifier.collate([{"text": "late [SEP] parcel"}])["input_ids"][0].tolist()

    assert ids.count(separator) == 1


def test_equal_texts_make_an_equal_tokenizer(prepared):
    texts = [row["text"] for row in map(examples.Prepared(prepared / "train").__getitem__, range(20))]

    made = {task.train_tokenizer(iter(texts), settings.load()).backend_tokenizer.to_str() for _ in range(3)}

    assert len(made) == 1


def test_a_saved_model_answers_as_the_one_in_memory(classifier, tmp_path):
    classifier.save(tmp_path)

    loaded = task.Classifier.load(tmp_path)

    rows = task.decode(json.dumps({"inputs": ["where is my parcel", "thank you"]}).encode(), "application/json")
    assert (loaded.predict(rows) == classifier.predict(rows)).all()


def test_a_request_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match="content type image/png is not served"):
        task.decode(b"", "image/png")
