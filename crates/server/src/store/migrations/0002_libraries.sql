-- Sources that code asks for with #require. A version never changes.
CREATE TABLE libraries (
    owner_id TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    code TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    added_ms BIGINT NOT NULL,
    PRIMARY KEY (owner_id, name, version)
);
