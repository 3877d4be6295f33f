-- Central's state. Kept to what SQLite and PostgreSQL share, but for the name of the byte type: ids are text, hashes and images are
-- bytes, times are Unix milliseconds, truth values are 0 or 1.
CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE INDEX accounts_email ON accounts (email);

CREATE TABLE access_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    expires_ms BIGINT NOT NULL
);
CREATE INDEX access_tokens_expiry ON access_tokens (expires_ms);

CREATE TABLE refresh_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    created_ms BIGINT NOT NULL
);
CREATE INDEX refresh_tokens_account ON refresh_tokens (account_id, created_ms);

CREATE TABLE products (
    id TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES accounts (id),
    creator_id TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    UNIQUE (owner_id, name)
);

CREATE TABLE devicegroups (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    product_id TEXT NOT NULL REFERENCES products (id),
    owner_id TEXT NOT NULL REFERENCES accounts (id),
    creator_id TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    current_deployment_id TEXT,
    min_supported_deployment_id TEXT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    UNIQUE (product_id, name)
);

CREATE TABLE deployments (
    id TEXT NOT NULL PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES devicegroups (id),
    product_id TEXT NOT NULL REFERENCES products (id),
    owner_id TEXT NOT NULL REFERENCES accounts (id),
    creator_id TEXT NOT NULL REFERENCES accounts (id),
    sha BLOB NOT NULL,
    description TEXT NOT NULL,
    origin TEXT,
    flagged BIGINT NOT NULL,
    flagger_id TEXT,
    tags TEXT NOT NULL,
    device_app_sha256 BLOB NOT NULL,
    device_app_len BIGINT NOT NULL,
    agent_app_sha256 BLOB NOT NULL,
    agent_app_len BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    UNIQUE (group_id, created_ms)
);
CREATE INDEX deployments_sha ON deployments (sha);

-- Apart from the deployments, so that a listing does not read past the sources.
CREATE TABLE deployment_code (
    deployment_id TEXT NOT NULL PRIMARY KEY REFERENCES deployments (id),
    device_code TEXT NOT NULL,
    agent_code TEXT NOT NULL
);

-- Compiled apps by their content: the same code is stored once, whatever it is deployed to.
CREATE TABLE images (
    sha256 BLOB NOT NULL PRIMARY KEY,
    image BLOB NOT NULL
);

CREATE TABLE devices (
    spki BLOB NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner_id TEXT NOT NULL REFERENCES accounts (id),
    group_id TEXT REFERENCES devicegroups (id),
    name TEXT,
    model TEXT NOT NULL,
    profile TEXT NOT NULL,
    identity_spki BLOB NOT NULL,
    key_agreement_spki BLOB NOT NULL,
    tls_spki BLOB NOT NULL,
    agent_id TEXT NOT NULL UNIQUE,
    token_id TEXT NOT NULL,
    revoked_ms BIGINT,
    enrolled_ms BIGINT NOT NULL,
    seen_ms BIGINT,
    address TEXT,
    os_version TEXT,
    free_memory BIGINT
);
CREATE INDEX devices_group ON devices (group_id);
CREATE INDEX devices_order ON devices (enrolled_ms, id);

CREATE TABLE enrolment_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    secret_hash BLOB NOT NULL,
    owner_id TEXT NOT NULL REFERENCES accounts (id),
    group_id TEXT REFERENCES devicegroups (id),
    uses BIGINT NOT NULL,
    uses_left BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);

-- What agents save, by agent and not by device: a new owner's agent finds nothing.
CREATE TABLE agent_states (
    agent_id TEXT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    state BLOB NOT NULL,
    saved_ms BIGINT NOT NULL
);

-- Numbered per device, newest highest, so that keeping the newest is one range.
CREATE TABLE logs (
    spki BLOB NOT NULL,
    number BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    production BIGINT NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (spki, number)
);

CREATE TABLE diaries (
    spki BLOB NOT NULL,
    number BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    entries TEXT NOT NULL,
    PRIMARY KEY (spki, number)
);
