import pytest

@pytest.mark.parametrize("case", ["supervised", "distil", "classifier", "born_again", "bank", "own", "learned", "linear"])
def test_case(finished_run, case):
    run = finished_run(case)
    print(run.results.read_text()[:300])
    print(run.metrics.read_text())
    print(run.provenance.read_text())

def test_tok(toy_text_encoder):
    from picturebook.models.text_encoders import load_text_encoder
    e = load_text_encoder(str(toy_text_encoder))
    print(e._model.tokenizer(["a photo of a apple.", "leaf"]), e.max_length, e.width)
    v = e.encode(["a photo of a apple.", "a photo of a leaf.", "a photo of a sky.", ""])
    print(v @ v.T)
