# Every target is a task of tasks.py, which runs where there is no make too: python tasks.py lab
# Words after the task go into ARGS: make test ARGS="-k masks"
PYTHON ?= $(shell command -v python3 || command -v python)
TASKS = lab test quick run site evidence drift bench parity check fix

.PHONY: help $(TASKS)
help:
	@$(PYTHON) tasks.py
$(TASKS):
	@$(PYTHON) tasks.py $@ $(ARGS)
