"""The variables of a run, as terraform reads them and as the log must not show them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from terrapod_agent.settings import EnvironmentVariable
from terrapod_agent.work import redact
from terrapod_common import wire

# Set by the agent itself, or able to change what the agent runs and where it looks.
_RESERVED = frozenset(
    {"TF_CLI_CONFIG_FILE", "TERRAFORM_CONFIG", "TF_DATA_DIR", "TF_WORKSPACE", "TF_INPUT"}
    | {"TF_IN_AUTOMATION", "TF_FORCE_LOCAL_BACKEND", "TF_REATTACH_PROVIDERS", "TF_PLUGIN_CACHE_DIR"}
    | {"CHECKPOINT_DISABLE", "BASH_ENV", "ENV"}
    # From where the system's library loads code, or takes its orders, in whatever is started.
    | {"GCONV_PATH", "LOCPATH", "NLSPATH", "GETCONF_DIR", "GLIBC_TUNABLES", "MALLOC_TRACE"}
)
_RESERVED_STARTS = ("TERRAPOD_", "LD_", "DYLD_")
# Where plan and state lie, and what kind of plan it is, which the server has agreed to.
_RESERVED_OPTIONS = (
    *("out", "state", "backup", "chdir", "backend", "lock", "input"),
    *("destroy", "refresh-only", "from-module", "json"),
)
_QUOTES = re.compile(r"[\\\"'`]")


class Environment(NamedTuple):
    """The complete environment of a run, and which variables were refused."""

    values: Mapping[str, str]
    refused: tuple[str, ...]


def effective(variables: Iterable[wire.RunVariable]) -> list[wire.RunVariable]:
    """Without duplicates: a later variable of the same key and category wins."""
    return list({(variable.category, variable.key): variable for variable in variables}.values())


def tfvars(variables: Iterable[wire.RunVariable]) -> str:
    """The content of a tfvars file with the variables of category ``terraform``."""
    return "".join(
        f"{variable.key} = {_expression(variable)}\n"
        for variable in effective(variables)
        if variable.category == "terraform"
    )


def _expression(variable: wire.RunVariable) -> str:
    # In parentheses an expression may begin, break and end where it likes.
    return f"(\n{variable.value}\n)" if variable.hcl else quoted(variable.value)


def quoted(text: str) -> str:
    """An HCL string literal that means exactly ``text``."""
    escapes = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
    for plain, escape in (*escapes, ("${", "$${"), ("%{", "%%{")):
        text = text.replace(plain, escape)
    return f'"{text}"'


def environment(
    work: wire.Work, passed_on: Iterable[EnvironmentVariable], fixed: Mapping[str, str]
) -> Environment:
    """An environment from nothing: what the operator lets through, the run's, the agent's."""
    values = {variable.name: variable.value for variable in passed_on}
    refused = []
    for variable in effective(work.variables):
        if variable.category == "env":
            if reserved(variable.key, variable.value):
                refused.append(variable.key)
            else:
                values[variable.key] = variable.value
    return Environment({**values, **work.environment, **fixed}, tuple(refused))


def reserved(name: str, value: str) -> bool:
    """Whether a workspace may not set this variable of the environment."""
    if not name or "=" in name or "\0" in name + value:
        return True
    if name.startswith("TF_CLI_ARGS"):
        # terraform splits it as a shell would: whatever quotes, an option ends up as itself.
        return any(_reserved_option(word) for word in _QUOTES.sub("", value).split())
    return name in _RESERVED or name.startswith(_RESERVED_STARTS)


def masks(variables: Iterable[wire.RunVariable]) -> list[bytes]:
    """All that must not show up in the log."""
    return sorted(set(_masks(variables)))


def _masks(variables: Iterable[wire.RunVariable]) -> Iterator[bytes]:
    for variable in variables:
        if variable.sensitive:
            yield from redact.forms(variable.value, hcl=variable.hcl)


def _reserved_option(word: str) -> bool:
    return word.startswith("-") and word.lstrip("-").startswith(_RESERVED_OPTIONS)
