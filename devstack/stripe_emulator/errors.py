"""Stripe's error answers, one maker for each sentence that a client may meet.

Texts marked "ours" in the README are not known in public; all others were quoted by someone who saw them.
"""

from __future__ import annotations

from typing import Any


class StripeError(Exception):
    """A refusal in the words of Stripe's v1 API."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        parameter: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.parameter = parameter
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Give the JSON body; absent members are left out, as Stripe does."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = "https://stripe.com/docs/error-codes/" + self.code.replace("_", "-")
        if self.parameter is not None:
            error["param"] = self.parameter
        return {"error": error}


def missing_parameter(name: str) -> StripeError:
    """Refuse a request that leaves out what the endpoint needs."""
    return StripeError(f"Missing required param: {name}.", code="parameter_missing", parameter=name)


def unknown_parameter(name: str) -> StripeError:
    """Refuse a parameter that the endpoint does not know."""
    return StripeError(f"Received unknown parameter: {name}", code="parameter_unknown", parameter=name)


def empty_parameter(name: str) -> StripeError:
    """Refuse an empty string where a value is needed."""
    message = (
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; however '{name}' "
        f"cannot be unset. You should remove '{name}' from your request or supply a non-empty value."
    )
    return StripeError(message, code="parameter_invalid_empty", parameter=name)


def unsupported_in_flexible(name: str) -> StripeError:
    """Refuse what only the classic billing mode knows."""
    message = f"With `billing_mode.type=flexible` set on a subscription, the following parameters are not supported: {name}."
    return StripeError(message, parameter=name)


def invalid_integer(name: str, text: str) -> StripeError:
    """Refuse what does not read as a whole number."""
    return StripeError(f"Invalid integer: {text}", code="parameter_invalid_integer", parameter=name)


def invalid_choice(name: str, choices: tuple[str, ...]) -> StripeError:
    """Refuse a word outside a closed list."""
    listed = " or ".join(choices) if len(choices) < 3 else ", ".join(choices[:-1]) + f", or {choices[-1]}"
    return StripeError(f"Invalid {name}: must be one of {listed}", parameter=name)


def invalid_object(name: str) -> StripeError:
    """Refuse plain text, or a list, where a map is needed."""
    return StripeError("Invalid object", parameter=name)


def too_long(name: str, text: str, at_most: int) -> StripeError:
    """Refuse text over the length that the endpoint takes."""
    return StripeError(f"Invalid string: {text[:8]}...{text[-4:]}; must be at most {at_most} characters", parameter=name)


def no_such(kind: str, identifier: str, parameter: str, *, status: int = 400) -> StripeError:
    """Refuse a reference to an object that does not exist: 404 in the address, 400 in a parameter."""
    return StripeError(f"No such {kind}: '{identifier}'", status=status, code="resource_missing", parameter=parameter)


def unrecognized_address(method: str, path: str) -> StripeError:
    """Refuse an address that Stripe, or this emulator of it, does not have."""
    message = (
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/."
    )
    return StripeError(message, status=404)


def no_key() -> StripeError:
    """Refuse a request without credentials."""
    message = (
        "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth "
        "(e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, or we can help at "
        "https://support.stripe.com/."
    )
    return StripeError(message, status=401, headers={"WWW-Authenticate": 'Bearer realm="Stripe"'})


def wrong_key(key: str) -> StripeError:
    """Refuse a key that is not ours, showing only its ends."""
    shown = f"{key[:8]}{'*' * max(len(key) - 12, 3)}{key[-4:]}" if len(key) > 12 else "*" * len(key)
    return StripeError(f"Invalid API Key provided: {shown}", status=401, headers={"WWW-Authenticate": 'Bearer realm="Stripe"'})


def rate_limited(reason: str = "endpoint-rate") -> StripeError:
    """Answer 429: too many requests."""
    message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    return StripeError(message, status=429, code="rate_limit", headers={"Stripe-Rate-Limited-Reason": reason})


def lock_timeout() -> StripeError:
    """Answer 429: the object is held by another request, ask again."""
    message = (
        "This object cannot be accessed right now because another API request or Stripe process is currently accessing it. "
        "If you see this error intermittently, retry the request. If you see this error frequently and are making multiple concurrent "
        "requests to a single object, make your requests serially or at a lower rate. "
        "For more details, see https://stripe.com/docs/rate-limits#object-lock-timeouts."
    )
    return StripeError(message, status=429, code="lock_timeout", headers={"Stripe-Should-Retry": "true"})


def concurrent_usage(status: int) -> StripeError:
    """Refuse a second call in flight for one customer and meter, with the status that the switch names."""
    message = "Cannot create multiple usage events for the same customer, meter concurrently."
    if status == 429:
        return StripeError(message, status=429, code="rate_limit", headers={"Stripe-Rate-Limited-Reason": "resource-specific"})
    return StripeError(message, status=409, code="too_many_concurrent_requests")


def server_error() -> StripeError:
    """Answer 500, which says nothing about what was done."""
    return StripeError("An unknown error occurred", status=500, kind="api_error")


def key_used_with_other_parameters(key: str) -> StripeError:
    """Refuse an idempotency key that already stands for another request."""
    message = (
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Try using a key other than '{key}' if you meant to execute a different request."
    )
    return StripeError(message, kind="idempotency_error")


def key_in_use(key: str) -> StripeError:
    """Refuse an idempotency key whose first request has not been answered yet."""
    message = (
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other "
        f"request is still going through): {key}. Please try again later."
    )
    return StripeError(message, status=409, code="idempotency_key_in_use")
