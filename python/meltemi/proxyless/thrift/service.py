"""What a service of thriftpy2 offers: its methods, and the path that each has for routing.

The path is `/<package>.<Service>/<method>`, as Kitex makes it: the package is the last segment of
the IDL's `namespace go`, else of its `namespace py`, else the name of its file."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from thriftpy2.thrift import TApplicationException

from meltemi.proxyless.thrift import message

# Scopes of `namespace` that name the package, the first that is there wins.
_SCOPES: Final = ("go", "py")
_NAMESPACE = re.compile(r"^\s*namespace\s+(\S+)\s+([\w.]+)", re.MULTILINE)
_COMMENTS = re.compile(r"/\*.*?\*/|(?://|#)[^\n]*", re.DOTALL)


def package_of(service: type) -> str:
    """The package of a service's path. "" where nothing names one (an IDL that has no file)."""
    namespaces = _namespaces(service)
    for scope in _SCOPES:
        if scope in namespaces:
            return namespaces[scope].rpartition(".")[2]
    file = getattr(service, "__thrift_file__", None)
    return Path(file).stem if file else service.__module__.removesuffix("_thrift")


def _namespaces(service: type) -> dict[str, str]:
    module = sys.modules.get(service.__module__)
    if module is not None and getattr(module, service.__name__, None) is service:
        return dict(getattr(module, "__thrift_namespaces__", {}))
    # A module that was loaded without a name is in no table: its file says the same.
    try:
        text = Path(getattr(service, "__thrift_file__", None) or "").read_text(encoding="utf-8")
    except OSError:
        return {}
    return dict(_NAMESPACE.findall(_COMMENTS.sub("", text)))


class Method:
    """One method of a service: how it is named and what takes its arguments and its result."""

    __slots__ = ("arguments", "name", "oneway", "path", "reply_head", "result", "wire_name")

    def __init__(self, service: Any, name: str, path: str, multiplexed: str | None) -> None:
        self.name = name
        self.path = path
        # With TMultiplexedProtocol, the service stands in front of the method.
        self.wire_name = (f"{multiplexed}:{name}" if multiplexed else name).encode()
        # How the reply starts in all but odd cases: a server of several services leaves out its
        # name.
        self.reply_head = message.head(name.encode(), message.REPLY)
        self.result: Callable[[], Any] = getattr(service, f"{name}_result")
        self.oneway: bool = getattr(service, f"{name}_result").oneway
        self.arguments = _arguments(service.__name__, name, getattr(service, f"{name}_args"))


def methods_of(service: Any, package: str | None, multiplexed: str | None) -> list[Method]:
    """All methods of a service, those that it inherits too. TypeError where it is no service."""
    names = getattr(service, "thrift_services", None)
    if names is None:
        raise TypeError(
            f"{service!r} is no Thrift service: give the class that thriftpy2 makes of a service of"
            " the IDL, as thriftpy2.load('reviews.thrift').ReviewsService"
        )
    package = package_of(service) if package is None else package
    name = f"{package}.{service.__name__}" if package else service.__name__
    return [Method(service, method, f"/{name}/{method}", multiplexed) for method in names]


def _arguments(service: str, method: str, struct: Any) -> Callable[..., Any]:
    """Makes the struct of a call's arguments as thriftpy2's client does.

    By position in the order of the IDL, or by name; None leaves an argument out, so that its
    default holds; a required one that is missing is an error."""
    fields = list(struct.thrift_spec.values())
    required = [field[1] for field in fields if field[-1]]
    if not required and all(default is None for _, default in struct.default_spec):
        made: Callable[..., Any] = struct
        return made
    names = [field[1] for field in fields]

    def make(*values: Any, **named: Any) -> Any:
        given = {
            name: value for name, value in zip(names, values, strict=False) if value is not None
        }
        if len(values) > len(names) or named.keys() - names:
            return struct(*values, **named)  # says which argument there is not
        given |= named
        for name in required:
            if name not in given:
                raise TApplicationException(
                    TApplicationException.UNKNOWN_METHOD,
                    f"{name} is required argument for {service}.{method}",
                )
        made = struct()
        for name, value in given.items():
            setattr(made, name, value)
        return made

    return make


def answer(result: Any) -> Any:
    """What a method returns by its decoded `result`: raises the exception that the IDL declares.

    `TApplicationException` MISSING_RESULT where a method that returns something returned
    nothing."""
    values = result.__dict__
    success = values.get("success")
    if success is not None:
        return success
    for name, value in values.items():
        if name != "success" and value:
            raise value
    if "success" in values:
        raise TApplicationException(TApplicationException.MISSING_RESULT)
    return None
