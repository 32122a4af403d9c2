# make demo: set up, then code and decode real speech with the shipped model
# make test: set up, then run the checks and the tests
# make docs: the documentation, into site/
# make check: the checks and the quick tests: a minute
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Of each part what is quick; make test runs everything.
QUICK = tests/cli/test_cli_files.py tests/cli/test_cli_mistakes.py tests/test_checkpoint.py tests/test_codec.py \
	tests/test_config.py tests/test_container.py tests/test_documentation.py tests/test_imports.py \
	tests/test_losses.py tests/test_parity_golden.py tests/test_quantizer_checklist.py tests/test_quantizers.py \
	tests/test_vocabulary.py

.PHONY: demo test check docs lint clean

demo: $(VENV)/.demo
	$(BIN)/python scripts/demo.py tests/data/84-121123-0002.flac demo_output

test: $(VENV)/.test lint
	$(BIN)/python -m pytest

check: $(VENV)/.test lint
	$(BIN)/python -m pytest $(QUICK)

lint: $(VENV)/.test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy sqcodec

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "site/index.html"

$(VENV)/.docs: setup.cfg setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e ".[docs]"
	touch $@

# PESQ comes as source and needs a C compiler; without one the demo leaves that score out.
$(VENV)/.demo: setup.cfg setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e .
	$(INSTALL) pystoi
	$(INSTALL) pesq || echo "PESQ could not be built here (no C compiler?): the demo leaves it out."
	touch $@

$(VENV)/.test: setup.cfg setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e ".[train,eval,hub,onnx,quantizers,study,tokens,ray,phones,lm,dev]"
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) demo_output site build *.egg-info
