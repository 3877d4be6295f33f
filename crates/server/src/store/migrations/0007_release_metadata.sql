-- The metadata of releases (TUF): all roots, and the newest of each other role.
CREATE TABLE release_metadata (
    role TEXT NOT NULL,
    version BIGINT NOT NULL,
    expires_s BIGINT NOT NULL,
    file BLOB NOT NULL,
    PRIMARY KEY (role, version)
);
