"""Asking policy: oslo.policy's language and override file, each question evaluated once.

A check costs 140–240 µs, and a list asks the same few questions a thousand times. So an answer is kept
under who asks and the values of those fields of the target that the rule reads, nothing else.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_policy import _checks as checks
from oslo_policy import policy as oslo

from netloom.api.policy_rules import RULES
from netloom.contract.attributes import MAPS, UNSET
from netloom.contract.errors import PolicyNotAuthorized
from netloom.model import Caller
from netloom.model.errors import UserError

Target = Mapping[str, Any]

log = logging.getLogger("netloom.policy")

NETWORK_SHARED = "network:shared"
"""Field of a target that says whether its network is shared with the caller."""

_SUBSTITUTION = re.compile(r"%\((.*?)\)s")
_KEPT_ANSWERS = 20_000
_SECONDS_BETWEEN_LOOKS = 1.0


@oslo.register("field")
class FieldCheck(oslo.Check):
    """`field:<resource>:<field>=<value>`: the target's field has this value, or `~` matches this pattern."""

    def __init__(self, kind: str, match: str) -> None:
        super().__init__(kind, match)
        resource, _, rest = match.partition(":")
        self.field, _, value = rest.rpartition("=")
        self.pattern = re.compile(value[1:]) if value.startswith("~") else None
        self.value: Any = {"True": True, "False": False}.get(value, value)
        # Ports and subnets are asked whether *their network* is shared.
        self.parent_field = f"network:{self.field}" if resource == "networks" else self.field

    def __call__(self, target: Any, creds: Any, enforcer: Any, current_rule: Any = None) -> bool:
        value = target.get(self.field, target.get(self.parent_field))
        if value is None:
            return False
        return bool(self.pattern.match(value)) if self.pattern else value == self.value


class Policy:
    """The rules in force: the defaults and what the file overrides; the file is looked at again when it changes."""

    def __init__(self, policy_file: str = "") -> None:
        conf = cfg.ConfigOpts()
        conf([], project="netloom", default_config_files=[], default_config_dirs=[])
        self._enforcer = oslo.Enforcer(conf, policy_file=policy_file or None, use_conf=bool(policy_file))
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.suppress_deprecation_warnings = True
        for name, rule in RULES.items():
            self._enforcer.register_default(oslo.RuleDefault(name, rule))
        self._file = policy_file
        self._answers: dict[Any, bool] = {}
        self._reads: dict[str, tuple[str, ...]] = {}
        self._looked = 0.0
        self._rules: Any = None
        self._refresh(force=True)

    def _refresh(self, force: bool = False) -> None:
        """Take up a changed file, at most once a second."""
        now = time.monotonic()
        if not force and now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        try:
            self._enforcer.load_rules(force_reload=force)
        except Exception as error:
            if force:
                raise UserError(f"cannot read the policy file {self._file}: {error}") from error
            # A server that runs goes on with the rules that it has.
            log.error("cannot read the policy file %s, the old rules stay: %s", self._file, error)
        if force:
            self._check_file()
        if self._enforcer.rules is not self._rules:
            self._rules = self._enforcer.rules
            self._answers, self._reads = {}, {}

    def _check_file(self) -> None:
        """Refuse a file that is not there, or a rule in it that says nothing: it would forbid silently."""
        if not self._file:
            return
        if not Path(self._file).is_file():
            raise UserError(f"there is no policy file {self._file}")
        for name, rule in self._enforcer.file_rules.items():
            if isinstance(rule.check, checks.FalseCheck) and rule.check_str.strip() != "!":
                raise UserError(
                    f"policy file {self._file}: cannot understand the rule of {name}: {rule.check_str}"
                )

    def has(self, rule: str) -> bool:
        """Tell whether there is a rule of this name."""
        return rule in self._rules

    def allows(self, caller: Caller, rule: str, target: Target) -> bool:
        """Tell whether the caller may; a rule that is not there is answered by the rule `default`."""
        reads = self._reads.get(rule)
        if reads is None:
            reads = self._reads[rule] = self._fields_read(rule)
        key = (
            rule,
            caller.user_id,
            caller.project_id,
            caller.roles,
            tuple([_hashable(target.get(field)) for field in reads]),
        )
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= _KEPT_ANSWERS:
                self._answers = {}
            answer = self._answers[key] = self._ask(
                caller, rule, {field: target.get(field) for field in reads}
            )
        return answer

    def reads_target(self, rule: str) -> bool:
        """Tell whether the answer depends on the target at all."""
        if rule not in self._reads:
            self._reads[rule] = self._fields_read(rule)
        return bool(self._reads[rule])

    def refresh(self) -> None:
        """Begin a request: see whether the file changed."""
        if self._file:
            self._refresh()

    def require(
        self, caller: Caller, action: str, collection: str, target: Target, sent: Iterable[str] | None = None
    ) -> None:
        """Raise PolicyNotAuthorized where the action, or one of the attributes that it sets, is forbidden.

        `sent`: the attributes that an update changes; None for a create, where every attribute that is
        not at its default counts.
        """
        rules, expression = _rules_asked(action, collection, target, sent)
        if not all(self.allows(caller, rule, target) for rule in rules):
            raise PolicyNotAuthorized(expression)

    def _ask(self, caller: Caller, rule: str, target: dict[str, Any]) -> bool:
        creds = {
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "tenant_id": caller.project_id,
            "domain_id": caller.domain_id,
            "roles": sorted(caller.roles),
            "service_roles": [],
            "is_admin": caller.is_admin,
        }
        known = {field: value for field, value in target.items() if value is not None}
        return bool(self._rules[rule](known, creds, self._enforcer, rule))

    def _fields_read(self, rule: str) -> tuple[str, ...]:
        """Return the fields of a target that decide a rule."""
        found: set[str] = set()
        seen: set[str] = set()

        def walk(check: Any) -> None:
            if isinstance(check, checks.RuleCheck):
                if check.match not in seen:
                    seen.add(check.match)
                    walk(self._rules[check.match])
            elif isinstance(check, checks.AndCheck | checks.OrCheck):
                for inner in check.rules:
                    walk(inner)
            elif isinstance(check, checks.NotCheck):
                walk(check.rule)
            elif isinstance(check, FieldCheck):
                found.update((check.field, check.parent_field))
            elif isinstance(check, checks.Check):
                found.update(_SUBSTITUTION.findall(check.match))

        walk(self._rules[rule])
        return tuple(sorted(found))


@lru_cache
def policy_of(policy_file: str) -> Policy:
    """Return the process's policy; raises UserError where the file cannot be read."""
    return Policy(policy_file)


def _hashable(value: Any) -> Any:
    return str(value) if isinstance(value, list | dict) else value


def _rules_asked(
    action: str, collection: str, target: Target, sent: Iterable[str] | None
) -> tuple[list[str], str]:
    """Return the rules that a request is asked for, and how Neutron writes them in its refusal."""
    rules = [action]
    expression = f"rule:{action}"
    verb = action.partition("_")[0]
    if verb in ("create", "update"):
        for name, facts in MAPS.get(collection, {}).items():
            if not facts.get("enforce_policy") or not _is_set(name, facts, target, sent):
                continue
            rule = f"{action}:{name}"
            inner = [f"{rule}:{part}" for part in _parts(facts, target[name])]
            rules += [rule, *inner]
            text = f"rule:{rule}"
            if inner:
                text = f"({text} and ({' and '.join(f'rule:{part}' for part in inner)}))"
            expression = f"({expression} and {text})"
    return rules, expression


def _is_set(name: str, facts: Mapping[str, Any], target: Target, sent: Iterable[str] | None) -> bool:
    """Tell whether a request says something about an attribute."""
    if sent is not None:
        return name in sent
    return name in target and target[name] != facts.get("default", UNSET)


def _parts(facts: Mapping[str, Any], value: Any) -> list[str]:
    """Return the parts of an attribute that have rules of their own."""
    if isinstance(value, list):
        return [key for entry in value if isinstance(entry, dict) for key in entry]
    if isinstance(value, dict):
        for rule, specification in facts.get("validate", {}).items():
            if rule.startswith("type:dict") and isinstance(specification, dict):
                return [key for key in specification if key in value]
    return []
