# `make demo` and `make test` need a Python 3.11 to 3.13 with venv, make, and a package index.
# Each sets itself up in a virtual environment of its own; run again, they only do what changed.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
DEMO := .demo
PY := $(VENV)/bin/python
JOBS ?= 2
TEST_EXTRAS := -e '.[reexec,ezkl,tee,optimistic,evm,tenseal,sklearn,test,dev]'
# Only the .onnx files in these packages are read, so they come without what they depend on.
TEST_MODELS := --no-deps magika 'rapidocr-onnxruntime; python_version < "3.13"'
# An editable installation is compiled here, so that no command has to, whatever the environment
# says of writing bytecode.
ROOMS := src/proofml zkml circuits
# sumcheck, ezkl or reexec
DEMO_BACKEND ?= sumcheck
DEMO_EXTRAS := -e '.[$(DEMO_BACKEND)]'
# torch is large, so what needs it has an environment of its own.
TORCH := .venv-torch
TORCH_EXTRAS := torch==2.13.0 -e '.[reexec,ezkl,torch,test]'

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

# The C kernels are built when the package is installed.
KERNELS := $(wildcard circuits/kernels/*.[ch])

$(VENV)/.ready: pyproject.toml setup.py Makefile tools/environment.sh $(KERNELS)
	@tools/environment.sh $(VENV) $(TEST_EXTRAS)
	@tools/environment.sh $(VENV) $(TEST_MODELS)
	@touch $@

$(DEMO)/venv/.ready-$(DEMO_BACKEND): pyproject.toml setup.py Makefile tools/environment.sh
	@mkdir -p $(DEMO)
	@tools/environment.sh $(DEMO)/venv $(DEMO_EXTRAS)
	@touch $@

.PHONY: demo
demo: $(DEMO)/venv/.ready-$(DEMO_BACKEND) ## prove one inference, verify it in a second process, see a refusal
	@$(DEMO)/venv/bin/python -m compileall -q $(ROOMS)
	@PATH="$(CURDIR)/$(DEMO)/venv/bin:$$PATH" PROOFML_CACHE="$(CURDIR)/$(DEMO)/cache" \
	  DEMO_BACKEND=$(DEMO_BACKEND) examples/demo/run.sh $(DEMO)

.PHONY: test
test: lint ## lint, then every test but the slow ones
	@echo "==> pytest"
	@$(PY) -m pytest -n $(JOBS) -m "not slow"

$(TORCH)/.ready: pyproject.toml setup.py Makefile tools/environment.sh
	@tools/environment.sh $(TORCH) $(TORCH_EXTRAS)

.PHONY: test-export
test-export: $(TORCH)/.ready ## the tests of exports from PyTorch and scikit-learn (installs torch)
	@echo "==> pytest, exports"
	@$(TORCH)/bin/python -m pytest tests/core/test_export.py tests/core/test_cli_export.py

# Concrete needs NumPy 1, so it has an environment of its own, which the command line makes.
CONCRETE := $(CURDIR)/.concrete
# Fails where it cannot be made: without an interpreter these tests would all be left out.
MAKE_CONCRETE = python="$$(PROOFML_CACHE="$(CONCRETE)" \
  $(VENV)/bin/proofml fhe environment --for compile)"

.PHONY: test-concrete
test-concrete: $(VENV)/.ready ## the tests that run circuits by Concrete (installs it, and torch)
	@echo "==> pytest, Concrete"
	@$(MAKE_CONCRETE) && PROOFML_PYTHON_CONCRETE="$$python" \
	  $(PY) -m pytest -n $(JOBS) -m "concrete and not slow" tests/fhe

.PHONY: test-contracts
test-contracts: ## the contracts: formatting, artefacts, forge's tests (installs solc and forge by npm)
	@echo "==> contracts"
	@tools/contracts.sh check
	@tools/contracts.sh test

.PHONY: test-slow
test-slow: $(VENV)/.ready ## the tests that prove for minutes (installs Concrete, and torch)
	@echo "==> pytest, slow tests"
	@$(MAKE_CONCRETE) && PROOFML_PYTHON_CONCRETE="$$python" $(PY) -m pytest -m slow

.PHONY: lint
lint: $(VENV)/.ready ## ruff, mypy, pyright, import-linter
	@echo "==> ruff check"
	@$(PY) -m ruff check .
	@echo "==> ruff format"
	@$(PY) -m ruff format --check .
	@$(PY) tools/view.py >/dev/null
	@echo "==> mypy"
	@$(PY) -m mypy --strict -p proofml
	@echo "==> pyright"
	@$(PY) -m pyright --pythonpath $(PY)
	@echo "==> lint-imports"
	@PYTHONPATH=build/view $(VENV)/bin/lint-imports --no-logo

.PHONY: sanitize
sanitize: $(VENV)/.ready ## the tests of the C kernels under AddressSanitizer and UBSan
	@tools/sanitize.sh

.PHONY: docs
docs: $(VENV)/.ready ## regenerate docs/cli.md and docs/checks.md
	@$(PY) tools/gendocs.py

.PHONY: clean
clean: ## remove environments, caches and whatever was built
	rm -rf $(VENV) $(TORCH) $(CONCRETE) $(DEMO) build dist *.egg-info
	rm -rf optimistic/contracts/node_modules optimistic/contracts/out optimistic/contracts/cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
