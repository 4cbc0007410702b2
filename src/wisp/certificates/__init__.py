"""Certificates of the webhook and the gateway: decided in `decision`, issued in another process, kept in a Secret.

A process makes a `server.ServerCertificate` and runs its coroutines. It gives every new certificate to a
`CertificateUser` (`wisp.http.tls.Presented`), from one of two sources. Both have `failures`, `expires_at` and
`is_trusted`:

- `controller.CertificateController` issues certificates with a CA of its own, both of which are in a Secret
  (`store.CertificateSecret`). Clients read the CA bundle there (entry `ca.crt`), or in a `store.Publication`: API
  servers read the webhook's in a MutatingWebhookConfiguration.
- `files.CertificateFiles` uses the files that cert-manager writes.
"""
