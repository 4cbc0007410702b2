"""The local cloud's web page: what there is, and what became of every token request, offline.

distance, nearest, difference, explanation      pure: which federated credential was meant, and what is wrong
decoded, readable, remedy, comparison, examined pure: a token in words, the command that puts it right
record                                          the last exchanges, in memory alone
guard, views, routes                            who may look, what the templates are told, and where it is served
"""
