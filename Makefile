.PHONY: setup
setup: build/.setup
build/.setup: requirements.lock pyproject.toml
	@echo todo
