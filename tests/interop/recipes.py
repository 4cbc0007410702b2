"""The client programs: how they are built and started, and the SDKs that they use. Runs nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_CLIENTS = Path(__file__).parent / "clients"
VAULT = "https://vault.azure.net"
MANAGEMENT = "https://management.azure.com"
STORAGE = "https://storage.azure.com"
CONFIGURATION = "https://appconfig.azure.com"
LOGS = "https://api.loganalytics.io"
INGESTION = "https://monitor.azure.com"
"""Resources of the clients' tokens; some add a slash."""
TOKEN_PROXY = "token-proxy"
"""The mode in which a client uses the token proxy of a cluster instead of the sidecar."""


@dataclass(frozen=True)
class Sdk:
    """A library with its `package` in the manifest, and the `entry` point that a mode of the client uses.

    `resource` is the resource of the token, which most programs that use their token know themselves.
    """

    package: str
    entry: str
    resource: str = VAULT
    language: str = ""
    """The language of the code that asks for the token, if it is not the recipe's."""


@dataclass(frozen=True)
class Recipe:
    """How the client `name` is built from the sources in `folder`, and started; `manifest` pins its SDKs.

    `tools` are programs that have to be on PATH, with the names of their packages. `commands` run in a copy of the
    folder, and `keep` lists the files of the result. In `commands` and `start`, `{python}` is this interpreter,
    `{here}` the folder of the result and `{folder}` that of the sources. `script` is started from the sources and
    does not need to be built.
    """

    name: str
    folder: Path
    manifest: str
    sdks: Mapping[str, Sdk]
    tools: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]
    keep: tuple[str, ...]
    start: tuple[str, ...]
    script: str = ""
    language: str = ""
    uses_token: bool = False
    """Whether it is a program that uses its token, at tests/interop/services.py, instead of an SDK alone."""

    @property
    def sources(self) -> list[Path]:
        """The files from which it is built, sorted."""
        files = (p for p in self.folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return sorted(p for p in files if p.name != self.script)

    def version(self, mode: str) -> str:
        """Return the version of the mode's SDK that the manifest pins."""
        package = re.escape(self.sdks[mode].package)
        separator = r"""(?:\[[\w,-]+\])?(?:</artifactId>\s*<version>|[\s"=:]+(?:\{ version = "=)?)"""
        found = re.search(rf"(?<![\w-]){package}{separator}v?(\d[\w.]*)", (self.folder / self.manifest).read_text())
        assert found is not None, f"{self.folder / self.manifest} does not pin {self.sdks[mode].package}"
        return found[1]


# One core each: two clients are built at a time (tests.interop.build).
_PIP = ("{python}", "-m", "pip", "--python", "venv/bin/python", "--disable-pip-version-check")
_VENV = (
    ("{python}", "-m", "venv", "--without-pip", "venv"),
    (*_PIP, "install", "--quiet", "--root-user-action", "ignore", "--require-hashes", "-r", "requirements.txt"),
)

PYTHON = Recipe(
    name="python",
    language="Python",
    folder=_CLIENTS / "python",
    manifest="requirements.in",
    sdks={
        "mi": Sdk("azure-identity", "ManagedIdentityCredential"),
        "dac": Sdk("azure-identity", "DefaultAzureCredential"),
        "msal": Sdk("msal", "ManagedIdentityClient"),
        TOKEN_PROXY: Sdk("azure-identity", "enable_azure_proxy"),
        "msrestazure": Sdk("msrestazure", "MSIAuthentication"),
    },
    tools={},
    commands=_VENV,
    keep=("venv",),
    start=("{here}/venv/bin/python", "{folder}/client.py"),
    script="client.py",
)
AZ = Recipe(
    name="az",
    language="az",
    folder=_CLIENTS / "az",
    manifest="requirements.in",
    sdks={"cli": Sdk("azure-cli", "az login --identity")},
    tools={},
    commands=_VENV,
    keep=("venv",),
    start=("{here}/venv/bin/python", "{folder}/client.py"),
    script="client.py",
)
GO = Recipe(
    name="go",
    language="Go",
    folder=_CLIENTS / "go",
    manifest="go.mod",
    sdks={
        "mi": Sdk("azidentity", "ManagedIdentityCredential"),
        "dac": Sdk("azidentity", "DefaultAzureCredential"),
        TOKEN_PROXY: Sdk("azidentity", "EnableAzureProxy"),
        "adal": Sdk("adal", "NewServicePrincipalTokenFromManagedIdentity"),
    },
    tools={"go": "Go 1.26 or later"},
    commands=(("go", "build", "-p", "1", "-trimpath", "-buildvcs=false", "-o", "client", "."),),
    keep=("client",),
    start=("{here}/client",),
)
NODE = Recipe(
    name="node",
    language="Node",
    folder=_CLIENTS / "node",
    manifest="package.json",
    sdks={
        "mi": Sdk("@azure/identity", "ManagedIdentityCredential"),
        "dac": Sdk("@azure/identity", "DefaultAzureCredential"),
        TOKEN_PROXY: Sdk("@azure/identity", "enableAzureProxy"),
        "msal": Sdk("@azure/msal-node", "ManagedIdentityApplication"),
    },
    tools={"node": "Node.js 20 or later", "npm": "npm"},
    commands=(("npm", "ci", "--silent"),),
    keep=("node_modules", "client.js"),
    start=("node", "{here}/client.js"),
)
JAVA = Recipe(
    name="java",
    language="Java",
    folder=_CLIENTS / "java",
    manifest="pom.xml",
    sdks={
        "mi": Sdk("azure-identity", "ManagedIdentityCredential"),
        "dac": Sdk("azure-identity", "DefaultAzureCredential"),
        TOKEN_PROXY: Sdk("azure-identity", "enableAzureProxy()"),
        "msal": Sdk("msal4j", "ManagedIdentityApplication"),
    },
    tools={"java": "a JDK 17 or later", "javac": "a JDK 17 or later", "mvn": "Maven 3.8 or later"},
    commands=(
        ("mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies", "-DoutputDirectory=lib"),
        ("javac", "--release", "17", "-cp", "lib/*", "-d", "classes", "src/Client.java"),
    ),
    keep=("lib", "classes"),
    # Optimised for a short start: the program runs for a second.
    start=("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", "{here}/classes:{here}/lib/*", "Client"),
)
RUST = Recipe(
    name="rust",
    language="Rust",
    folder=_CLIENTS / "rust",
    manifest="Cargo.toml",
    sdks={"mi": Sdk("azure_identity", "ManagedIdentityCredential")},
    tools={"cargo": "Rust 1.88 or later"},
    commands=(("cargo", "build", "--quiet", "-j1", "--target-dir", "target"),),
    keep=("target/debug/client",),
    start=("{here}/client",),
)

DOTNET = Recipe(
    name="dotnet",
    language=".NET",
    folder=_CLIENTS / "dotnet",
    manifest="package.json",
    sdks={
        "mi": Sdk("@azure/mcp", "ManagedIdentityCredential", f"{MANAGEMENT}/"),
        "prod": Sdk("@azure/mcp", "AZURE_TOKEN_CREDENTIALS=prod", f"{MANAGEMENT}/"),
    },
    tools=NODE.tools,
    commands=NODE.commands,
    keep=("node_modules",),
    start=("{python}", "{folder}/client.py", "{here}"),
    script="client.py",
)
PROGRAMS = Recipe(
    name="programs",
    language="Python",
    uses_token=True,
    folder=_CLIENTS / "programs",
    manifest="requirements.in",
    sdks={
        "adlfs": Sdk("adlfs", "AzureBlobFileSystem", STORAGE),
        "configuration": Sdk("azure-appconfiguration", "AzureAppConfigurationClient", CONFIGURATION),
        "logs": Sdk("azure-monitor-query", "LogsQueryClient", LOGS),
        "google": Sdk("google-auth", "identity_pool.Credentials", MANAGEMENT),
        "registry": Sdk("confluent-kafka", "SchemaRegistryClient", MANAGEMENT),
        "pyarrow": Sdk("pyarrow", "AzureFileSystem", STORAGE, "C++"),
        "obstore": Sdk("obstore", "AzureStore", STORAGE, "Rust"),
        "opendal": Sdk("opendal", "Operator", f"{STORAGE}/", "Rust"),
    },
    tools={},
    commands=_VENV,
    keep=("venv",),
    start=("{here}/venv/bin/python", "{folder}/client.py"),
    script="client.py",
)
GO_PROGRAMS = Recipe(
    name="go-programs",
    language="Go",
    uses_token=True,
    folder=_CLIENTS / "go-programs",
    manifest="go.mod",
    sdks={
        "rclone": Sdk("rclone", "azureblob", STORAGE),
        "azurerm": Sdk("go-azure-sdk/sdk", "ManagedIdentityAuthorizer", MANAGEMENT),
        "prometheus": Sdk("prometheus/prometheus", "azuread", f"{INGESTION}/"),
    },
    tools=GO.tools,
    commands=GO.commands,
    keep=GO.keep,
    start=GO.start,
)
JAVA_PROGRAMS = Recipe(
    name="java-programs",
    language="Java",
    uses_token=True,
    folder=_CLIENTS / "java-programs",
    manifest="pom.xml",
    sdks={"hadoop": Sdk("hadoop-azure", "MsiTokenProvider", f"{STORAGE}/")},
    tools=JAVA.tools,
    commands=JAVA.commands,
    keep=JAVA.keep,
    start=JAVA.start,
)

_SLOWEST_FIRST = (GO_PROGRAMS, RUST, AZ, GO, JAVA, PROGRAMS, NODE, JAVA_PROGRAMS, PYTHON, DOTNET)
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _SLOWEST_FIRST}
"""By name; the slowest builds come first."""
