"""Azure Resource Manager, as far as `az` and the management SDKs need it to give a workload its identity.

routing, bearer, reading, paging, problem          pure: what is asked, by whom, and how it is refused
rendering, managed_cluster, metadata               pure: what is answered
call, writing                                      one request and its answer; one writer at a time
catalogue, groups, identities, federated,
clusters, operations, roles, graph                 what a request does to the store
server                                             HTTP: tokens, headers, errors
"""
