"""Values that JSON has not, as the tests write them: {"$": kind, "v": text}."""

import base64
import datetime
import decimal
import json
import uuid


def unwrap(value):
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    if isinstance(value, dict):
        if set(value) == {"$", "v"}:
            return {
                "datetime": datetime.datetime.fromisoformat,
                "date": datetime.date.fromisoformat,
                "time": datetime.time.fromisoformat,
                "decimal": decimal.Decimal,
                "uuid": uuid.UUID,
                "bytes": base64.b64decode,
                "float": float,
                "int": int,
                # As it is: to be unwrapped by whoever receives it.
                "json": json.loads,
            }[value["$"]](value["v"])
        return {key: unwrap(item) for key, item in value.items()}
    return value


def wrap(value):
    if isinstance(value, (list, tuple)):
        return [wrap(item) for item in value]
    if isinstance(value, dict):
        return {str(key): wrap(item) for key, item in value.items()}
    if isinstance(value, datetime.datetime):
        return {"$": "datetime", "v": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"$": "date", "v": value.isoformat()}
    if isinstance(value, datetime.time):
        return {"$": "time", "v": value.isoformat()}
    if isinstance(value, decimal.Decimal):
        return {"$": "decimal", "v": str(value)}
    if isinstance(value, uuid.UUID):
        return {"$": "uuid", "v": str(value)}
    if isinstance(value, bytes):
        return {"$": "bytes", "v": base64.b64encode(value).decode()}
    if isinstance(value, float) and value != value:
        return {"$": "float", "v": "nan"}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return {"$": "int", "v": str(value)}
    if isinstance(value, BaseException):
        return {"exception": type(value).__name__, "module": type(value).__module__, "args": wrap(value.args)}
    return value
