"""`client.py MODE RESOURCE [--twice]`: a program reads from a service at WISP_SERVICES, with a token that it gets.

Prints one line of JSON: what it read, which is the description of the token that it showed there. MODE is one of MODES;
RESOURCE is what the token is for, which most programs know by themselves. WISP_CLIENT_ID selects an identity.
Each library is imported when it is asked for: the failure of one import must not hide another's.
"""

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

Read = Callable[[], str | bytes]
"""Reads what the service gives."""

_IMDS = "http://169.254.169.254/metadata/identity/oauth2/token"
_URL = os.environ["WISP_SERVICES"]
_CLIENT_ID = os.environ.get("WISP_CLIENT_ID")
_BLOB = "container/token.json"


def adlfs(_resource: str) -> Read:
    """Read a blob by adlfs, with its default credential."""
    if _CLIENT_ID:
        os.environ["AZURE_CLIENT_ID"] = _CLIENT_ID
    made = importlib.import_module("adlfs").AzureBlobFileSystem(
        account_name="account", account_host=f"{urlsplit(_URL).netloc}/account", anon=False
    )
    return lambda: made.cat_file(_BLOB)


def object_store(_resource: str) -> Read:
    """Read a blob by obstore, that is by the Rust crate object_store, with its managed identity."""
    library = importlib.import_module("obstore.store")
    chosen = {"client_id": _CLIENT_ID} if _CLIENT_ID else {}
    if endpoint := os.environ.get("IDENTITY_ENDPOINT"):
        chosen["msi_endpoint"] = endpoint
    container, _, name = _BLOB.partition("/")
    store = library.AzureStore(
        container, account_name="account", endpoint=f"{_URL}/account", config=chosen, retry_config={"max_retries": 0}
    )
    read = importlib.import_module("obstore").get
    return lambda: bytes(read(store, name).bytes())


def opendal(_resource: str) -> Read:
    """Read a blob by opendal, that is by the Rust crate reqsign, with the credentials that it finds."""
    if _CLIENT_ID:
        os.environ["AZURE_CLIENT_ID"] = _CLIENT_ID
    if endpoint := os.environ.get("IDENTITY_ENDPOINT"):
        os.environ["AZURE_IMDS_ENDPOINT"] = endpoint
    container, _, name = _BLOB.partition("/")
    operator = importlib.import_module("opendal").Operator(
        "azblob", account_name="account", endpoint=f"{_URL}/account", container=container
    )
    return lambda: bytes(operator.read(name))


def pyarrow(_resource: str) -> Read:
    """Read a blob by pyarrow, that is by the Azure SDK for C++."""
    authority = urlsplit(_URL).netloc
    made = importlib.import_module("pyarrow.fs").AzureFileSystem(
        "account", blob_storage_authority=authority, dfs_storage_authority=authority, client_id=_CLIENT_ID
    )

    def read() -> bytes:
        with made.open_input_stream(_BLOB) as stream:
            return bytes(stream.read())

    return read


def google(resource: str) -> Read:
    """Exchange the token for a Google one by google-auth, and show that (workload identity federation)."""
    endpoint, header = os.environ.get("IDENTITY_ENDPOINT"), os.environ.get("IDENTITY_HEADER", "")
    version = "2019-08-01" if endpoint else "2018-02-01"
    chosen = f"&client_id={_CLIENT_ID}" if _CLIENT_ID else ""
    source = {
        "url": f"{endpoint or _IMDS}?api-version={version}&resource={quote(resource, safe='')}{chosen}",
        "headers": {"X-IDENTITY-HEADER": header} if endpoint else {"Metadata": "True"},
        "format": {"type": "json", "subject_token_field_name": "access_token"},
    }
    library = importlib.import_module("google.auth.identity_pool")
    made = library.Credentials.from_info(
        {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/wisp/providers/azure",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{_URL}/sts/token",
            "credential_source": source,
        }
    )
    session = importlib.import_module("google.auth.transport.requests").AuthorizedSession(made)

    def read() -> str:
        response = session.get(f"{_URL}/federated")
        response.raise_for_status()
        return str(response.text)

    return read


def schema_registry(resource: str) -> Read:
    """List the subjects of a schema registry by confluent-kafka."""
    chosen = f"&client_id={_CLIENT_ID}" if _CLIENT_ID else ""
    made = importlib.import_module("confluent_kafka.schema_registry").SchemaRegistryClient(
        {
            "url": _URL,
            "ssl.ca.location": os.environ["SSL_CERT_FILE"],
            "bearer.auth.credentials.source": "OAUTHBEARER_AZURE_IMDS",
            "bearer.auth.issuer.endpoint.url": os.environ.get("IDENTITY_ENDPOINT", _IMDS),
            "bearer.auth.issuer.endpoint.query": f"api-version=2025-04-07&resource={quote(resource, safe='')}{chosen}",
            "bearer.auth.logical.cluster": "lsrc-1",
        }
    )
    return lambda: made.get_subjects()[0]


def configuration(_resource: str) -> Read:
    """Read a setting by azure-appconfiguration."""
    credential = importlib.import_module("azure.identity").DefaultAzureCredential(managed_identity_client_id=_CLIENT_ID)
    client = importlib.import_module("azure.appconfiguration").AzureAppConfigurationClient(_URL, credential)
    return lambda: client.get_configuration_setting(key="token").value


def logs(resource: str) -> Read:
    """Query logs by azure-monitor-query, with the asynchronous credential."""
    identity = importlib.import_module("azure.identity.aio")
    library = importlib.import_module("azure.monitor.query.aio")

    async def ask() -> str:
        async with (
            identity.ManagedIdentityCredential(client_id=_CLIENT_ID) as credential,
            library.LogsQueryClient(credential, endpoint=f"{_URL}/v1", audience=resource) as client,
        ):
            answer = await client.query_workspace("workspace", "token", timespan=None)
            return str(answer.tables[0].rows[0][0])

    return lambda: asyncio.run(ask())


MODES: Mapping[str, Callable[[str], Read]] = {
    "adlfs": adlfs,
    "obstore": object_store,
    "opendal": opendal,
    "pyarrow": pyarrow,
    "google": google,
    "registry": schema_registry,
    "configuration": configuration,
    "logs": logs,
}


def run(mode: str, resource: str, *, times: int) -> dict[str, object]:
    """Read so many times; return what came of it, and the seconds that each took."""
    seconds: list[float] = []
    start = time.monotonic()
    try:
        read, answer = MODES[mode](resource), {}
        for _ in range(times):
            answer = json.loads(read())
            seconds.append(time.monotonic() - start)
            start = time.monotonic()
    except Exception as error:  # noqa: BLE001 -- the library's text is the result, whatever it raises
        text = f"{type(error).__name__}: {error}"
        return {"ok": False, "error": text, "seconds": [*seconds, time.monotonic() - start]}
    return {"ok": True, **answer, "seconds": seconds}


if __name__ == "__main__":
    result = run(sys.argv[1], sys.argv[2], times=2 if "--twice" in sys.argv else 1)
    print(json.dumps(result))  # noqa: T201 -- it is a program
    sys.exit(0 if result["ok"] else 1)
