-- A table's columns are in the order of its record's fields.
CREATE TABLE tenant (id TEXT PRIMARY KEY, display_name TEXT NOT NULL, created INTEGER NOT NULL) STRICT;
CREATE TABLE subscription (
    id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL REFERENCES tenant, display_name TEXT NOT NULL
) STRICT;
CREATE TABLE resource_group (
    subscription_id TEXT NOT NULL REFERENCES subscription, name TEXT NOT NULL COLLATE NOCASE, location TEXT NOT NULL,
    tags TEXT NOT NULL DEFAULT '{}', PRIMARY KEY (name, subscription_id)
) STRICT;
CREATE TABLE identity (
    subscription_id TEXT NOT NULL, resource_group TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
    location TEXT NOT NULL, client_id TEXT PRIMARY KEY, principal_id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL REFERENCES tenant, tags TEXT NOT NULL DEFAULT '{}',
    UNIQUE (resource_group, name, subscription_id),
    FOREIGN KEY (subscription_id, resource_group) REFERENCES resource_group (subscription_id, name)
        ON DELETE CASCADE
) STRICT;
CREATE TABLE application (
    client_id TEXT PRIMARY KEY, object_id TEXT NOT NULL UNIQUE, principal_id TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL UNIQUE, tenant_id TEXT NOT NULL REFERENCES tenant
) STRICT;
CREATE TABLE client_secret (
    key_id TEXT PRIMARY KEY, client_id TEXT NOT NULL REFERENCES application ON DELETE CASCADE,
    salt BLOB NOT NULL, digest BLOB NOT NULL, expires REAL NOT NULL
) STRICT;
CREATE INDEX client_secret_of ON client_secret (client_id);
CREATE TABLE federated_credential (
    client_id TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, issuer TEXT NOT NULL, subject TEXT NOT NULL,
    audience TEXT NOT NULL, created REAL NOT NULL,
    PRIMARY KEY (client_id, name), UNIQUE (client_id, issuer, subject)
) STRICT;
CREATE TRIGGER identity_deleted AFTER DELETE ON identity BEGIN
    DELETE FROM federated_credential WHERE client_id = old.client_id; END;
CREATE TRIGGER application_deleted AFTER DELETE ON application BEGIN
    DELETE FROM federated_credential WHERE client_id = old.client_id; END;
CREATE TABLE issuer (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE) STRICT;
CREATE TABLE signing_key (
    number INTEGER PRIMARY KEY, owner TEXT NOT NULL, key_id TEXT NOT NULL, pem BLOB NOT NULL, extra TEXT NOT NULL,
    UNIQUE (owner, key_id)
) STRICT;
CREATE TABLE certificate (name TEXT PRIMARY KEY, key_pem BLOB NOT NULL, certificate_pem BLOB NOT NULL) STRICT;
CREATE TABLE resource (uri TEXT PRIMARY KEY) STRICT;
CREATE TABLE managed_cluster (
    subscription_id TEXT NOT NULL, resource_group TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
    location TEXT NOT NULL, requested TEXT NOT NULL, issuer TEXT NOT NULL, principal_id TEXT NOT NULL,
    kubelet_client_id TEXT NOT NULL, kubelet_object_id TEXT NOT NULL, activity TEXT NOT NULL, until REAL NOT NULL,
    PRIMARY KEY (resource_group, name, subscription_id),
    FOREIGN KEY (subscription_id, resource_group) REFERENCES resource_group (subscription_id, name)
        ON DELETE CASCADE
) STRICT;
CREATE TABLE identity_binding (
    subscription_id TEXT NOT NULL, resource_group TEXT NOT NULL COLLATE NOCASE, cluster TEXT NOT NULL COLLATE NOCASE,
    name TEXT NOT NULL COLLATE NOCASE, identity_id TEXT NOT NULL, client_id TEXT NOT NULL, principal_id TEXT NOT NULL,
    issuer_url TEXT NOT NULL, activity TEXT NOT NULL, until REAL NOT NULL,
    PRIMARY KEY (resource_group, cluster, name, subscription_id),
    FOREIGN KEY (resource_group, cluster, subscription_id)
        REFERENCES managed_cluster (resource_group, name, subscription_id) ON DELETE CASCADE
) STRICT;
CREATE TABLE attachment (
    cluster TEXT PRIMARY KEY COLLATE NOCASE, kubeconfig TEXT NOT NULL, issuer_url TEXT NOT NULL, key_set TEXT NOT NULL
) STRICT;
CREATE TABLE operation (id TEXT PRIMARY KEY, started REAL NOT NULL, ends REAL NOT NULL) STRICT;
CREATE TABLE role_assignment (
    name TEXT PRIMARY KEY COLLATE NOCASE, scope TEXT NOT NULL COLLATE NOCASE,
    role_definition_id TEXT NOT NULL COLLATE NOCASE, principal_id TEXT NOT NULL, principal_type TEXT NOT NULL,
    created REAL NOT NULL, UNIQUE (scope, role_definition_id, principal_id)
) STRICT;
