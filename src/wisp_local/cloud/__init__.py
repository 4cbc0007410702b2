"""A local Azure: Entra's token endpoint, OIDC issuers of clusters and Resource Manager, for offline token exchanges.

It is an independent witness: it shares no code with the sidecar, so that a misunderstanding of Entra cannot cancel out.

    entra/                token requests: endpoints, exchange (the flow), and the pure decisions it asks:
                          request, directory, audiences, claims, refusals
    issuer, issuer_keys   the issuers of clusters; the keys of issuers elsewhere
    state/                one SQLite file: store (resources), issuers (keys), clusters, principals, authority (the CA)
    seed, seeding         a seed file, and how it is applied to a state
    names, roles          Azure's rules for names and federated credentials; built-in roles
    arm/, page/           Resource Manager; the web page
    app, web, serving     the HTTP application, what its routes share, and the listening process
"""
