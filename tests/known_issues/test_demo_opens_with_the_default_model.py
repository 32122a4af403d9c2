"""`sqcodec demo` opened with the first model by name, speech-1k, whose slider has nothing to slide."""

from sqcodec.cli.demo import shipped_models
from sqcodec.registry import list_models


def test_the_default_model_comes_first() -> None:
    names = shipped_models()
    assert names[0] == "speech-3k" and sorted(names) == sorted(model.name for model in list_models() if model.shipped)
