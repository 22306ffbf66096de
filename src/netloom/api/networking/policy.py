"""Asking policy: oslo.policy's language and override file, each question evaluated once.

A check costs 140–240 µs, and a list asks the same few questions a thousand times. So an answer is kept
under who asks and the values of those fields of the target that the rule reads, nothing else.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from oslo_config import cfg
from oslo_policy import _checks as checks
from oslo_policy import policy as oslo

from netloom.api.networking.policy_rules import RULES
from netloom.contract.attributes import MAPS, UNSET
from netloom.contract.errors import PolicyNotAuthorized
from netloom.model import Caller
from netloom.model.errors import UserError

Target = Mapping[str, Any]
T = TypeVar("T", bound=Mapping[str, Any])

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
        if not self.field:
            raise ValueError(f"field:{match} must be field:<resource>:<field>=<value>")
        self.pattern = re.compile(value[1:]) if value.startswith("~") else None
        self.value: Any = {"True": True, "False": False}.get(value, value)
        # Ports and subnets are asked whether *their network* is shared.
        self.parent_field = f"network:{self.field}" if resource == "networks" else self.field

    def __call__(self, target: Any, creds: Any, enforcer: Any, current_rule: Any = None) -> bool:
        value = target.get(self.field, target.get(self.parent_field))
        if value is None:
            return False
        return bool(self.pattern.match(value)) if self.pattern else value == self.value


_ASKED = (FieldCheck, checks.RoleCheck, checks.GenericCheck, checks.TrueCheck, checks.FalseCheck)
"""Checks that need nothing but the caller and the target: no others are asked under the writer's lock."""


class _Rules:
    """One set of rules, and what it has answered."""

    def __init__(self, rules: Mapping[str, Any], enforcer: oslo.Enforcer) -> None:
        self.rules = rules
        self._enforcer = enforcer
        self._answers: dict[Any, bool] = {}
        self._reads: dict[str, tuple[str, ...]] = {}
        self.of_attributes: dict[str, list[tuple[str, str]]] = {}

    def allows(self, caller: Caller, rule: str, target: Target) -> bool:
        """As `Policy.allows`."""
        reads = self.fields_read(rule)
        key = (
            rule,
            caller.user_id,
            caller.project_id,
            caller.roles,
            caller.service_roles,
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

    def fields_read(self, rule: str) -> tuple[str, ...]:
        """Return the fields of a target that decide a rule."""
        reads = self._reads.get(rule)
        if reads is None:
            found: set[str] = set()
            for check in _leaves(self.rules, rule if rule in self.rules else "default"):
                if isinstance(check, FieldCheck):
                    found.update((check.field, check.parent_field))
                elif isinstance(check, checks.Check):
                    found.update(_SUBSTITUTION.findall(check.match))
            reads = self._reads[rule] = tuple(sorted(found))
        return reads

    def _ask(self, caller: Caller, rule: str, target: dict[str, Any]) -> bool:
        creds = {
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "tenant_id": caller.project_id,
            "domain_id": caller.domain_id,
            "roles": sorted(caller.roles),
            "service_roles": sorted(caller.service_roles),
            "is_admin": caller.is_admin,
        }
        known = {field: value for field, value in target.items() if value is not None}
        return bool(self.rules[rule](known, creds, self._enforcer, rule))


class Policy:
    """The rules in force: the defaults and what the file overrides; the file is looked at again when it changes."""

    def __init__(self, policy_file: str = "") -> None:
        self._file = policy_file
        self._looked = time.monotonic()
        self._stamp = _stamp(policy_file)
        # All of it is replaced at once: no answer by old rules is kept among those by new ones.
        self._now = _load(policy_file)

    def refresh(self) -> None:
        """Begin a request: take up a changed file, looked for at most once a second."""
        now = time.monotonic()
        if not self._file or now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._now = _load(self._file)
        except UserError as error:
            # A server that runs goes on with the rules that it has.
            log.error("%s; the old rules stay", error)

    def of_attributes(self, action: str, names: Iterable[str]) -> list[tuple[str, str]]:
        """Return the rules `<action>:<name>` that there are, each with the name; `names` are the same each time."""
        now = self._now
        if action not in now.of_attributes:
            every = ((f"{action}:{name}", name) for name in names)
            now.of_attributes[action] = [(rule, name) for rule, name in every if rule in now.rules]
        return now.of_attributes[action]

    def allows(self, caller: Caller, rule: str, target: Target) -> bool:
        """Tell whether the caller may; a rule that is not there is answered by the rule `default`."""
        return self._now.allows(caller, rule, target)

    def allowed(self, caller: Caller, rule: str, targets: Iterable[T]) -> list[T]:
        """Return those targets of a list for which the caller may: alike ones are asked for once."""
        now = self._now
        reads = now.fields_read(rule)
        answers: dict[Any, bool] = {}
        found: list[T] = []
        for target in targets:
            key = tuple([_hashable(target.get(field)) for field in reads])
            answer = answers.get(key)
            if answer is None:
                answer = answers[key] = now.allows(caller, rule, target)
            if answer:
                found.append(target)
        return found

    def reads_target(self, rule: str) -> bool:
        """Tell whether the answer depends on the target at all."""
        return bool(self._now.fields_read(rule))

    def fields_read(self, rule: str) -> frozenset[str]:
        """Return the fields of a target that decide a rule."""
        return frozenset(self._now.fields_read(rule))

    def require(
        self,
        caller: Caller,
        action: str,
        collection: str,
        target: Target,
        sent: Iterable[str] | None = None,
    ) -> None:
        """Raise PolicyNotAuthorized where the action, or one of the attributes that it sets, is forbidden.

        `sent`: the attributes that an update changes; None for a create, where every attribute that is
        not at its default counts.
        """
        rules, expression = _rules_asked(action, collection, target, sent)
        if not all(self.allows(caller, rule, target) for rule in rules):
            raise PolicyNotAuthorized(expression)


def _stamp(file: str) -> tuple[int, ...]:
    """Return what tells one version of the file from another; empty where there is no file."""
    try:
        there = Path(file).stat()
    except OSError:
        return ()
    return there.st_mtime_ns, there.st_size, there.st_ino, there.st_mode, there.st_uid


def _load(file: str) -> _Rules:
    """Read the rules. A file that is not there, or says what cannot be asked, is refused: UserError."""
    conf = cfg.ConfigOpts()
    conf([], project="netloom", default_config_files=[], default_config_dirs=[])
    enforcer = oslo.Enforcer(conf, policy_file=file or None, use_conf=bool(file))
    enforcer.suppress_default_change_warnings = True
    enforcer.suppress_deprecation_warnings = True
    for name, rule in RULES.items():
        enforcer.register_default(oslo.RuleDefault(name, rule))
    if file:
        _check_owner(Path(file))
    try:
        enforcer.load_rules(force_reload=True)
    except Exception as error:
        raise UserError(f"cannot read the policy file {file}: {error}") from error
    rules = enforcer.rules or {}
    if file:
        _check(file, enforcer.file_rules, rules)
    return _Rules(rules, enforcer)


def _check_owner(path: Path) -> None:
    """Refuse a file that others than root and the server's own user could write or replace: it says who may what."""
    if not path.is_file():
        raise UserError(f"there is no policy file {path}")
    ours = (0, os.geteuid())
    real = path.resolve()
    file, folder = real.stat(), real.parent.stat()
    if file.st_mode & 0o022 or file.st_uid not in ours:
        raise UserError(
            f"the policy file {path} can be written by others: chown it to the server's user or root, "
            f"and chmod go-w {path}"
        )
    # In a folder with the sticky bit nobody can put another file in this one's place.
    if folder.st_uid not in ours or (folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX):
        raise UserError(
            f"the policy file {path} can be replaced by others: only its owner may write in {real.parent}"
        )


def _check(file: str, own: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
    """Refuse what oslo.policy would take for something else: a name mistyped in a rule would let `default` decide."""
    for name, rule in own.items():
        if isinstance(rule.check, checks.FalseCheck) and rule.check_str.strip() != "!":
            raise UserError(
                f"policy file {file}: cannot understand the rule of {name}: {rule.check_str}"
            )
    named: set[str] = set()
    for name in rules:
        try:
            strange = [
                check for check in _leaves(rules, name, named) if not isinstance(check, _ASKED)
            ]
        except ValueError as error:
            raise UserError(f"policy file {file}: the rule of {name} {error}") from None
        if strange:
            raise UserError(
                f"policy file {file}: the rule of {name} has a check that is not offered: {strange[0]}"
            )
    if idle := sorted(
        name for name in own if name.partition(":")[0] not in RULES and name not in named
    ):
        log.warning("policy file %s: this server asks for no rule called %s", file, ", ".join(idle))


def _leaves(
    rules: Mapping[str, Any], name: str, named: set[str] | None = None, above: tuple[str, ...] = ()
) -> Iterator[Any]:
    """Yield the checks that decide a rule, those of the rules it names included; note these in `named`.

    Raises ValueError for a rule that is not there or leads back to itself.
    """
    if name in above:
        raise ValueError(f"leads back to {name}")
    if name not in rules:
        raise ValueError(f"names {name}, which is no rule")
    waiting = [rules[name]]
    while waiting:
        check = waiting.pop()
        if isinstance(check, checks.RuleCheck):
            if named is not None:
                named.add(check.match)
            yield from _leaves(rules, check.match, named, (*above, name))
        elif isinstance(check, checks.AndCheck | checks.OrCheck):
            waiting += check.rules
        elif isinstance(check, checks.NotCheck):
            waiting.append(check.rule)
        else:
            yield check


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


def _is_set(
    name: str, facts: Mapping[str, Any], target: Target, sent: Iterable[str] | None
) -> bool:
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
