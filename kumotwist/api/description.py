"""The API described by itself: an OpenAPI 3.1 document made from the table of endpoints and the types in it."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kumotwist import __version__
from kumotwist.api.endpoint import Endpoint

_ALWAYS: Mapping[int, str] = {
    400: "the request cannot be understood",
    401: "the client may not do this, or its credential is wrong",
    413: "the body is too large",
    500: "a fault of the server's, which is in its log",
    503: "not now: come again",
}
_WITH_BODY: Mapping[int, str] = {
    415: "the body is not JSON, or packed in an unknown way",
    422: "the JSON is not of this shape, or its values make no sense",
}
_NUMBERS: Mapping[int, str] = {422: "a parameter is unknown or none of this type"}
PROBLEM = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document."""
    endpoints = list(endpoints)
    types = [one for endpoint in endpoints for one in (endpoint.asks, endpoint.answers) if one is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "KumoTwist", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": PROBLEM},
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}, "bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, by_type: Mapping[int, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": (endpoint.method.lower() + endpoint.path).replace("/", "_").replace("-", "_").replace(".", "_"),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "responses": _responses(endpoint, by_type),
    }
    if endpoint.asks is not None:
        content = {"application/json": {"schema": by_type[id(endpoint.asks)]}}
        operation["requestBody"] = {"required": True, "content": content}
    elif endpoint.accepts is not None:
        operation["requestBody"] = {"required": True, "content": {endpoint.accepts: {"schema": {"type": "string"}}}}
    parameters = [*_parameters(endpoint), *_headers(endpoint)]
    if parameters:
        operation["parameters"] = parameters
    return operation


def _responses(endpoint: Endpoint, by_type: Mapping[int, Any]) -> dict[str, Any]:
    if endpoint.answers is not None:
        content: Any = {"application/json": {"schema": by_type[id(endpoint.answers)]}}
    else:
        content = {endpoint.content_type: {"schema": {"type": "string"}}}
    found: dict[str, Any] = {"200": {"description": "done", "content": content}}
    told = dict(_ALWAYS)
    if endpoint.asks is not None:
        told.update(_WITH_BODY)
    if endpoint.query is not None:
        told.update(_NUMBERS)
    told.update(endpoint.refusals)
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for code, when in sorted(told.items()):
        shown = {**problem, **({endpoint.content_type: {"schema": {"type": "string"}}} if endpoint.answers is None else {})}
        found[str(code)] = {"description": when, "content": shown}
    return found


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    found = []
    for field in msgspec.structs.fields(endpoint.query):
        schema = msgspec.json.schema(field.type)
        found.append({"name": field.encode_name, "in": "query", "required": field.required, "schema": schema})
    return found


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": what, "schema": {"type": "string", "maxLength": 255}}
        for name, what in endpoint.headers.items()
    ]
