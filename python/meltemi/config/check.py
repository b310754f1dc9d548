"""One document against its kind: every issue it has, and the object it is when it has no error.

Order: envelope (apiVersion, kind, metadata), fields by the schema, meaning by the rules, and what
is not there yet. An error at a place silences what the rules say of that place.
Next: `meltemi.config.load`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from meltemi.config import kinds, not_yet, own_annotations
from meltemi.config.documents import Document
from meltemi.config.issues import Finding, Issue, Path, Severity, Step, nearest, written
from meltemi.config.place import Place
from meltemi.config.rules import names
from meltemi.config.schema.metadata import Metadata
from meltemi.config.schema.types import Schema
from meltemi.model import ObjectRef

_S = TypeVar("_S", bound=Schema)

_SHOWN = 10  # of the known fields, in a hint
_LIST = ("v1", "List")
_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_DRY_RUN = "istio.io/dry-run"
_ALWAYS_REJECT = "internal.istio.io/webhook-always-reject"


@dataclass(frozen=True, slots=True)
class Object:
    """A valid object of a kind that takes part in the mesh, and where it is written."""

    ref: ObjectRef
    file: str
    line: int
    raw: dict[str, Any]
    """As written, with `metadata.namespace` filled in."""
    metadata: Metadata
    spec: Any
    """The kind's schema; None for a kind that does nothing yet."""
    document: Document
    path: Path = ()
    """Where in the document it is: `items[n]` of a List."""

    def issue(
        self, path: Path, severity: Severity, code: str, message: str, hint: str = ""
    ) -> Issue:
        """An issue at a place in this object; `path` begins with `spec` or `metadata`."""
        line, column = self.document.place((*self.path, *path))
        return Issue(self.file, line, column, written(path), severity, code, message, hint)


@dataclass(frozen=True, slots=True)
class Checked:
    """`ref` is known even of an object with errors, so that others are not taken for it."""

    ref: ObjectRef | None
    value: Object | None
    issues: tuple[Issue, ...]


def document(document: Document, namespace: str) -> Iterator[Checked]:
    """The objects of a document: one, or the items of a `List`."""
    value = document.value
    flawed = bool(document.flaws) and _is_ours(value)
    severity: Severity = "error" if flawed else "warning"
    flaws = tuple(replace(flaw, severity=severity) for flaw in document.flaws)
    places: list[tuple[Path, Any]] = [((), value)]
    if isinstance(value, dict) and (value.get("apiVersion"), value.get("kind")) == _LIST:
        items = value.get("items")
        if isinstance(items, list):
            places = [(("items", index), item) for index, item in enumerate(items)]
    for path, item in places:
        checked = _Check(document, path, item, namespace).run()
        yield replace(checked, value=None) if flawed else checked
    if flaws:
        yield Checked(None, None, flaws)


def _is_ours(value: Any) -> bool:
    """Whether the document is of a group that we serve."""
    version = value.get("apiVersion") if isinstance(value, dict) else None
    name = value.get("kind") if isinstance(value, dict) else None
    group = version.rpartition("/")[0] if isinstance(version, str) else ""
    return group in kinds.VERSIONS or (group, name) in kinds.KINDS or (version, name) == _LIST


class _Check:
    """Collects the findings of one object."""

    def __init__(self, document: Document, path: Path, value: Any, namespace: str) -> None:
        self.document, self.path, self.value = document, path, value
        self.namespace = namespace
        self.findings: list[Finding] = []

    def run(self) -> Checked:
        kind = self._kind()
        if kind is None:
            return Checked(None, None, self._issues())
        metadata = self._metadata(kind)
        name = self.value.get("metadata") or {}
        ref = None
        if isinstance(name, dict) and isinstance(name.get("name"), str):
            given = name.get("namespace")
            self.namespace = given if isinstance(given, str) and given else self.namespace
            ref = ObjectRef(kind.name, self.namespace, name["name"])
        spec = self._spec(kind)
        issues = self._issues()
        if metadata is None or ref is None or any(i.severity == "error" for i in issues):
            return Checked(ref, None, issues)
        line, _ = self.document.place(self.path)
        raw = {**self.value, "metadata": {**self.value["metadata"], "namespace": ref.namespace}}
        value = Object(ref, self.document.file, line, raw, metadata, spec, self.document, self.path)
        return Checked(ref, value, issues)

    def _issues(self) -> tuple[Issue, ...]:
        """Findings with their lines, sorted; each is said once."""
        issues: dict[Issue, None] = {}
        for finding in self.findings:
            line, column = self.document.place((*self.path, *finding.path))
            issue = Issue(
                self.document.file,
                line,
                column,
                written(finding.path),
                finding.severity,
                finding.code,
                finding.message,
                finding.hint,
            )
            issues[issue] = None
        return tuple(sorted(issues, key=lambda issue: (issue.line, issue.column)))

    def _add(self, path: Path, code: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(path, "error", code, message, hint))

    def _warn(self, path: Path, code: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(path, "warning", code, message, hint))

    def _kind(self) -> kinds.Kind | None:
        """The kind, where it is one of ours; None after saying what it is instead."""
        if not isinstance(self.value, dict):
            self._add((), "not-a-mapping", "the document is not a mapping", "apiVersion, kind, …")
            return None
        version, name = self.value.get("apiVersion"), self.value.get("kind")
        if version is None and name is None:
            self._warn(
                (), "not-kubernetes", "not a Kubernetes document: skipped",
                "it has neither apiVersion nor kind",
            )  # fmt: skip
            return None
        for field, given in (("apiVersion", version), ("kind", name)):
            if not isinstance(given, str) or not given:
                self._add((field,), "missing-field", f"{field} is missing")
        if not (isinstance(version, str) and version and isinstance(name, str) and name):
            return None
        return self._known_kind(version, name)

    def _known_kind(self, api_version: str, name: str) -> kinds.Kind | None:
        group, slash, version = api_version.rpartition("/")
        kind = kinds.KINDS.get((group, name))
        if kind is None and group not in kinds.VERSIONS:
            self._warn(
                ("kind",), "foreign-kind", f"{api_version} {name} is not part of a mesh: skipped"
            )
            return None
        if kind is None:
            known = [kind.name for kind in kinds.KINDS.values() if kind.group == group]
            self._add(
                ("kind",), "unknown-kind", f"{group} has no kind {name}",
                nearest(name, known) or f"its kinds: {', '.join(known)}",
            )  # fmt: skip
            return None
        if version not in kind.versions:
            known_versions = ", ".join(f"{group}{slash}{v}" for v in kind.versions)
            self._add(
                ("apiVersion",), "unknown-version", f"{name} has no version {version}",
                known_versions,
            )  # fmt: skip
            return None
        return kind

    def _metadata(self, kind: kinds.Kind) -> Metadata | None:
        for key in self.value:
            if key not in _TOP:
                self._add((key,), "unknown-field", f"unknown field {key}", nearest(str(key), _TOP))
        given = self.value.get("metadata")
        if given is None:
            self._add(("metadata",), "missing-field", "metadata is missing", "metadata: {name: …}")
            return None
        metadata = self._schema(Metadata, given, ("metadata",))
        place = Place(given, ("metadata",))
        name, namespace = place["name"], place["namespace"]
        if not name.text and not (name.there and not isinstance(name.value, str)):
            self._add(name.path, "missing-field", "metadata.name is missing", "name: …")
        elif name.text and (wrong := kind.name_error(name.text)):
            self._add(name.path, "invalid-name", wrong)
        if namespace.text and (wrong := names.label_error(namespace.text)):
            self._add(namespace.path, "invalid-name", wrong)
        if isinstance(place["labels"].value, dict):
            self.findings += names.metadata_labels(place["labels"])
        for annotation in (_DRY_RUN, _ALWAYS_REJECT) if kind.group == kinds.ISTIO else ():
            if place["annotations"][annotation].there:
                self._add(
                    ("metadata", "annotations", annotation), "invalid-annotation",
                    f"the annotation {annotation} is not for a {kind.name}",
                )  # fmt: skip
        self.findings += own_annotations.check(kind.name, place["annotations"])
        return metadata

    def _spec(self, kind: kinds.Kind) -> Schema | None:
        if kind.schema is None:
            self._warn(
                ("kind",), "not-there-yet", f"{kind.name} is not there yet",
                kind.instead,
            )  # fmt: skip
            return None
        given = self.value.get("spec")
        if given is None:
            self._add(("spec",), "missing-field", "spec is missing")
            return None
        spec = self._schema(kind.schema, given, ("spec",))
        wrong = [finding.path for finding in self.findings if finding.severity == "error"]
        place = Place(given, ("spec",))
        found = (*kind.rules(place, self.namespace), *not_yet.fields(kind.schema, place))
        for finding in found:
            if not any(_inside(finding.path, path) for path in wrong):
                self.findings.append(finding)
        return spec

    def _schema(self, schema: type[_S], given: Any, path: Path) -> _S | None:
        try:
            return schema.model_validate(given)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self.findings.append(_finding(schema, given, path, detail))
        return None


def _inside(path: Path, outer: Path) -> bool:
    return path[: len(outer)] == outer


_TYPES = {
    "string_type": ("text", "put it in quotes"),
    "int_type": ("a whole number", "without quotes"),
    "int_from_float": ("a whole number", ""),
    "float_type": ("a number", "without quotes"),
    "bool_type": ("true or false", "without quotes"),
    "dict_type": ("a mapping", ""),
    "model_type": ("a mapping", ""),
    "model_attributes_type": ("a mapping", ""),
    "list_type": ("a list", "begin each element with '-'"),
    "wrong-type": ("a number or text", ""),
}


def _finding(schema: type[Schema], given: Any, root: Path, detail: ErrorDetails) -> Finding:
    """pydantic's error in our words."""
    kind, context = detail["type"], detail.get("ctx", {})
    inner: tuple[Step, ...] = tuple(step for step in detail["loc"] if step != "[key]")
    path = (*root, *inner)
    where = str(path[-1])
    if kind == "missing":
        return Finding(path, "error", "missing-field", f"{where} is missing", f"{where}: …")
    if kind == "extra_forbidden":
        known = not_yet.known_names(schema, inner[:-1])
        some = [*known[:_SHOWN], "…"] if len(known) > _SHOWN else known
        hint = nearest(where, known) or f"known fields: {', '.join(some)}"
        return Finding(path, "error", "unknown-field", f"unknown field {where}", hint)
    if kind in _TYPES:
        wanted, hint = _TYPES[kind]
        shown = _shown(detail["input"])
        if wanted == "text" and not isinstance(detail["input"], (bool, int, float)):
            hint = ""
        return Finding(path, "error", "wrong-type", f"{where} is {shown}, want {wanted}", hint)
    if kind == "literal_error":
        expected = str(context.get("expected", ""))
        choices = [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
        near = nearest(str(detail["input"]), choices) or f"one of {', '.join(choices)}"
        message = f"{_shown(detail['input'])} is no value of {where}"
        return Finding(path, "error", "bad-value", message, near)
    if kind in ("string_too_short", "too_short"):
        least = context["min_length"]
        return Finding(path, "error", "bad-value", f"{where} is too short, want {least} at least")
    if kind in ("string_too_long", "too_long"):
        most = context["max_length"]
        return Finding(path, "error", "bad-value", f"{where} is too long, want {most} at most")
    code = kind if "-" in kind else "bad-value"
    hint = str(context.get("hint", ""))
    message = detail["msg"].replace("Input should be", f"{where} has to be")
    return Finding(path, "error", code, message, hint)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
