"""Bodies of hostile reviews as text: no encoder would write them."""

LARGEST = 3_400_000
"""Bytes of filling: with the rest of the review under the 3.5 MiB that an API server sends at most."""
_LABEL = '"azure.workload.identity/use":"true"'


def review(object_: str, *, operation: str = "CREATE", old_object: str = "null") -> bytes:
    """Return a review of an object."""
    return (
        '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"hostile",'
        '"kind":{"group":"","version":"v1","kind":"Pod"},"namespace":"default",'
        f'"operation":"{operation}","oldObject":{old_object},"object":{object_}}}}}'
    ).encode()


def pod(
    *, containers: str = '{"name":"main","image":"app:1"}', metadata: str = "", spec: str = "", account: str = "web"
) -> str:
    """Return a labelled pod; `metadata` and `spec` are further members, each ending in a comma."""
    return (
        f'{{"metadata":{{{metadata}"name":"p","namespace":"default","labels":{{{_LABEL}}}}},'
        f'"spec":{{{spec}"serviceAccountName":"{account}","containers":[{containers}]}}}}'
    )


def containers(number: int, env: str = "") -> str:
    """Return `number` short containers; `env` is that member, beginning with a comma."""
    return ",".join(f'{{"name":"c{index}","image":"i"{env}}}' for index in range(number))


def filled(piece: str, size: int = LARGEST) -> str:
    """Return `piece` repeatedly, separated by commas, in `size` bytes."""
    return ",".join([piece] * (size // (len(piece) + 1)))


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Return the request that sends a review; `length` overrides the true Content-Length."""
    return head(len(body) if length is None else length, *headers) + body


def head(length: int, *headers: str) -> bytes:
    """Return the head of a request that sends a review of `length` bytes."""
    fields = ("Host: wisp-webhook.wisp.svc", "Content-Type: application/json", f"Content-Length: {length}", *headers)
    return "\r\n".join(["POST /mutate-v1-pod?timeout=10s HTTP/1.1", *fields, "", ""]).encode()
