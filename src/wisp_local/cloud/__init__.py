"""A local Azure: Entra's token endpoint and the OIDC issuers of clusters, enough to exchange a federated token offline.

An independent witness: it shares no code with the sidecar, so that a misunderstanding of Entra cannot cancel out.

    directory, refusals, assertion, form, claims   pure: what is there, what is asked, what is answered
    seed, seedfields, seedformat, seedtext         pure: what a seed file says
    seeding                                        puts it into the state
    store, schema                                  what is kept, in one SQLite file
    signing, certificates                          RSA keys and JWTs; the CA that serves https
    issuer, keysource                              what an issuer publishes, and how Entra reads it
    exchange, server, serving                      one token request; the HTTP application; the listening process
"""
