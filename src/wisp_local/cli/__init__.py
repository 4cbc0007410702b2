"""The commands of the local Azure, which `wisp` finds through the entry-point group `wisp.commands`."""

COMMANDS = {  # name -> module with a click command called `command`, help
    "cloud": ("wisp_local.cli.cloud", "Run a local Azure: Entra's token endpoint and OIDC issuers."),
    "demo": ("wisp_local.cli.demo", "Run the whole walk-through on this machine, without a cluster."),
    "lab": ("wisp_local.cli.lab", "Run a local Azure for the real az and kubectl."),
    "run": ("wisp_local.cli.run", "Run a command with a managed identity, on this machine."),
}
