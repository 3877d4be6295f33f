-- The transparency log of releases: an entry for each manifest, numbered from 0, never changed.
CREATE TABLE release_log (
    number BIGINT NOT NULL PRIMARY KEY,
    image BLOB NOT NULL UNIQUE,
    entry BLOB NOT NULL
);
