-- Where a device's identity key lives, as it said when it was enrolled, and where the keys of a group's devices must live.
ALTER TABLE devices ADD COLUMN attestation TEXT;
ALTER TABLE devicegroups ADD COLUMN attestation TEXT NOT NULL DEFAULT 'any';

-- What each device proved last. An older generation of its vault is refused.
CREATE TABLE proofs (
    spki BLOB NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    attestation TEXT NOT NULL,
    boot BLOB,
    layers TEXT,
    memory_locked INTEGER,
    generation BIGINT
);

-- What people must look at, until they say that they have.
CREATE TABLE alarms (
    spki BLOB NOT NULL,
    kind TEXT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    count BIGINT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (spki, kind)
);

-- The last self-test of each device: what it signed, and when that came.
CREATE TABLE self_tests (
    spki BLOB NOT NULL PRIMARY KEY,
    received_ms BIGINT NOT NULL,
    cose BLOB NOT NULL
);
