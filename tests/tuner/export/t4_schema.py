"""What version 1.0.0 of the T4 schemas asks for, stated with every property that we write.

The published schemas (https://github.com/odgaard/TuningSchema, branch T4: ``results-schema.json``
and ``metadata-schema.json``; parameters as in T1) require fewer properties and allow any others.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Any = True) -> dict[str, Any]:
    return {"type": "array", "items": items}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
VERSION = {"type": "string", "pattern": "^[0-9]+\\.[0-9]+\\.[0-9]+$"}

RESULT = _object(
    timestamp=TEXT,
    configuration={"type": "object"},
    objectives=_list(TEXT),
    times={
        "type": "object",
        "properties": {
            **dict.fromkeys(("compilation_time", "framework", "search_algorithm"), NUMBER),
            "validation": NUMBER,
            "runtimes": _list(NUMBER),
        },
    },
    invalidity={"enum": ["timeout", "compile", "runtime", "correctness", "constraints", "correct"]},
    correctness=NUMBER,
    measurements=_list(
        _object(name=TEXT, value={"type": ["number", "string", "array"]}, unit=TEXT)
    ),
)
METADATA = _object(
    timeunit=TEXT,
    hardware=_object(hardware_description=_list(), operating_system=TEXT),
    environment=_object(device_query={"type": "object"}, requirements=_list(TEXT)),
    ConfigurationSpace=_object(
        TuningParameters=_list(
            _object(
                Name=TEXT, Type={"enum": ["int", "uint", "float", "bool", "string"]}, Values=TEXT
            )
        )
    ),
)
T4 = Draft202012Validator(_object(schema_version=VERSION, metadata=METADATA, results=_list(RESULT)))
