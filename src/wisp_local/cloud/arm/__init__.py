"""Azure Resource Manager, as far as `az` and the management SDKs need it to give a workload its identity.

app                                     HTTP: tokens, routes, api-versions, Azure's headers and errors
handler, operations                     one request and its answer; long-running operations
catalogue, resources, identities,
clusters, roles                         what each request does to the store
bearer, reading, problem,
managed_cluster                         pure: tokens, bodies, filters, pages, errors, documents
"""
