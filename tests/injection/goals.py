"""What an injected instruction wants: the injection tasks of AgentDojo, read from the installed package."""

import importlib.abc
import importlib.machinery
import sys
import types
from unittest import mock

# Clients of models, which the package imports and nothing here uses: they are not installed.
ABSENT = ("anthropic", "click", "cohere", "dotenv", "google", "langchain", "openai", "requests", "rich", "tenacity", "torch", "transformers")


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands for packages that are not there."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: mock.MagicMock() if not name.startswith("__") else (_ for _ in ()).throw(AttributeError(name))
        module.__path__ = []
        return module

    def exec_module(self, module):
        pass


def all_of_them():
    """Of each task: suite and name, the instruction, and the calls by which whoever obeys it carries it out."""
    sys.meta_path.insert(0, Absent())
    from agentdojo.task_suite.load_suites import get_suites

    found = []
    for suite_name, suite in get_suites("v1").items():
        environment = suite.load_and_inject_default_environment({})
        for name, task in suite.injection_tasks.items():
            calls = [(call.function, dict(call.args)) for call in task.ground_truth(environment)]
            found.append((f"{suite_name}/{name}", task.GOAL, calls))
    return found


if __name__ == "__main__":
    for name, goal, calls in all_of_them():
        print(name, [call for call, _ in calls])
