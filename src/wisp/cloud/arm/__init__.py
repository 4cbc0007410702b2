"""Azure Resource Manager, as far as `az` and the management SDKs need it to give a workload its identity.

routing, problem, reading, rendering, paging, bearer, credentials_file   pure: what is asked, what is answered
call                                                                     one request and its answer, as values
catalogue, groups, identities, federated, clusters, roles, graph         what each request does to the store
server                                                                   HTTP: paths, tokens, headers, errors
"""
