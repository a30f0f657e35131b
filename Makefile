# What .ci/run does, step by step. Uses the active virtual environment.
.PHONY: install test test-all lint types docs bench

install:  ## llama.cpp is compiled: about three minutes on two cores
	CMAKE_ARGS="-DCMAKE_PROJECT_INCLUDE=$(CURDIR)/.ci/llama-core.cmake" pip install -c .ci/constraints.txt -e '.[dev]'

test:  ## the inner loop, under a minute on two cores, without a network
	pytest -m "not slow"

test-all:  ## everything; models and data sets are fetched once
	pytest

lint:
	ruff check .
	ruff format --check .

types:
	.ci/types

docs:  ## writes the tables of docs/cli.md
	python docs/generate_cli.py

bench:  ## load time, tokens and time per request, memory
	genrec-edge bench --requests 20
