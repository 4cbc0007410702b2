"""Certificates of the webhook and the gateway: decided in `decision`, issued in another process, kept in a Secret.

A server shows what a `CertificateUser` (`wisp.http.tls.Presented`) was given by one of two sources. Both have `run`
(a coroutine that does not end), `failures`, `expires_at` and `is_trusted`:

- `controller.CertificateController(stores, issuer, user, spec, log)` issues certificates with a CA of its own.
  `stores` is `Stores(CertificateSecret(api, namespace=..., name=..., managed_by=...), publication)`. The publication is
  where clients read the CA bundle; without one, they read it in the Secret (entry `ca.crt`). The server watches
  `CertificateSecret.resource`, and the publication's, and calls `wake` when one changes. `issuer` is `IssuerProcess()`,
  `spec` is `CertificateSpec(Subject("wisp gateway", names), Lifetimes(...), time.time)`.
- `files.CertificateFiles(folder, issuer, user, log)` uses the files that cert-manager writes.
"""
