"""What every policy needs: settings that are read with care, known answers, and a log line for an exception.

The same file in each starter, and yours from now on: change it as you like.
"""

import json
from functools import wraps

from componentize_py_types import Err
from wit_world.imports import log
from wit_world.imports.types import PolicyError_BadSettings, PolicyError_Internal


class Settings:
    """The settings, taken one by one. What is wrong is noted, and `finish` reports all of it at once."""

    def __init__(self, table, path=""):
        self.table = table
        self.path = path
        self.known = []
        self.problems = []

    @classmethod
    def parse(cls, text):
        table = json.loads(text)
        if not isinstance(table, dict):
            raise Err(PolicyError_BadSettings("the settings are no table"))
        return cls(table)

    def number(self, name, least, most, default=None):
        def check(value):
            return is_number(value) and least <= value <= most

        return self.take(name, f"a number from {least:g} to {most:g}", check, default)

    def whole(self, name, least, most, default=None):
        def check(value):
            return is_number(value) and least <= value <= most and value == int(value)

        value = self.take(name, f"a whole number from {least} to {most}", check, default)
        return value if value is None else int(value)

    def flag(self, name, default=False):
        return self.take(name, "true or false", lambda value: isinstance(value, bool), default)

    def text(self, name, allowed, check, default=None):
        """Text that `check` accepts; `allowed` says in words what that is."""
        return self.take(name, allowed, lambda value: isinstance(value, str) and check(value), default)

    def secret(self, name):
        """Text that must never be shown, not even where something else was given for it."""
        return self.take(name, "a text", lambda value: isinstance(value, str), None, show=False)

    def tables(self, name):
        """A table of tables: pairs of a name and the `Settings` of that table."""
        for key, table in self.take(name, "a table", lambda value: isinstance(value, dict), {}).items():
            if isinstance(table, dict):
                inner = Settings(table, f"{self.path}{name}.{key}.")
                yield key, inner
                self.problems += inner.all_problems()
            else:
                self.problem(f"{name}.{key}", f"{shown(table)} is not a table")

    def problem(self, name, what):
        self.problems.append(f"{self.path}{name}: {what}")

    def finish(self):
        """Raises every problem there is, unknown settings among them."""
        if problems := self.all_problems():
            raise Err(PolicyError_BadSettings(printable("; ".join(problems), 1000)))

    def take(self, name, allowed, check, default, show=True):
        self.known.append(name)
        if name not in self.table:
            return default
        value = self.table[name]
        if check(value):
            return value
        self.problem(name, f"{shown(value) if show else 'what is given'} is not {allowed}")
        return default

    def all_problems(self):
        there_are = ", ".join(self.known)
        unknown = [name for name in self.table if name not in self.known]
        return self.problems + [f"{self.path}{name}: no such setting; there are: {there_are}" for name in unknown]


def is_number(value):
    # To Python, True is a number.
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def shown(value):
    """Never what is inside a list or a table: it may be a password."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    return printable(json.dumps(value), 40)


def printable(text, limit):
    """The host refuses answers with anything but printable ASCII."""
    return "".join(c if " " <= c <= "~" else "_" for c in text[:limit])


def expect(what, answer, wanted):
    """For `self_test`: an answer that is not the known one keeps the plugin out."""
    if answer != wanted:
        raise Err(PolicyError_Internal(printable(f"{what}: {answer!r} instead of {wanted!r}", 1000)))


def logged(function):
    """An exception that is no `Err` is a bug and stops the instance. This says in the host's log what and where it was:
    without it there is only "unreachable"."""

    @wraps(function)
    def call(*arguments):
        try:
            return function(*arguments)
        except Err:
            raise
        except Exception as error:
            trace = error.__traceback__
            while trace.tb_next:
                trace = trace.tb_next
            code = trace.tb_frame.f_code
            log.write(
                log.Level.ERROR,
                f"{type(error).__name__}: {error} ({code.co_filename}, line {trace.tb_lineno}, in {code.co_name})",
            )
            raise

    return call
