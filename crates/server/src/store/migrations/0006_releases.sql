-- OS releases: one version over all models of a product.
CREATE TABLE releases (
    id TEXT NOT NULL PRIMARY KEY,
    product TEXT NOT NULL,
    version TEXT NOT NULL,
    security_epoch BIGINT NOT NULL,
    uploader_id TEXT NOT NULL REFERENCES accounts (id),
    uploaded_ms BIGINT NOT NULL,
    UNIQUE (product, version)
);

-- The encrypted images of a release, by the SHA-256 of their manifests; the bytes are in files.
CREATE TABLE release_images (
    image BLOB NOT NULL PRIMARY KEY,
    release_id TEXT NOT NULL REFERENCES releases (id),
    len BIGINT NOT NULL,
    manifest BLOB NOT NULL,
    sealed_key BLOB NOT NULL
);
CREATE INDEX release_images_release ON release_images (release_id);

CREATE TABLE release_models (
    release_id TEXT NOT NULL REFERENCES releases (id),
    model TEXT NOT NULL,
    image BLOB NOT NULL REFERENCES release_images (image),
    PRIMARY KEY (release_id, model)
);

-- Roll-outs of a release to the devices of a group, in phases.
CREATE TABLE rollouts (
    id TEXT NOT NULL PRIMARY KEY,
    release_id TEXT NOT NULL REFERENCES releases (id),
    group_id TEXT NOT NULL REFERENCES devicegroups (id) ON DELETE CASCADE,
    creator_id TEXT NOT NULL REFERENCES accounts (id),
    phases TEXT NOT NULL,
    phase BIGINT NOT NULL,
    max_failures BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    admit_max BIGINT NOT NULL,
    admitted BIGINT NOT NULL,
    confirmed BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE INDEX rollouts_order ON rollouts (created_ms DESC, id);
CREATE INDEX rollouts_group ON rollouts (group_id, state);

-- How far each device is that a roll-out has reached.
CREATE TABLE rollout_devices (
    rollout_id TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    spki BLOB NOT NULL,
    image BLOB NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (rollout_id, spki)
);
CREATE INDEX rollout_devices_device ON rollout_devices (spki, image);

-- Each content key that was given to a device, written before it is sent.
CREATE TABLE key_releases (
    at_ms BIGINT NOT NULL,
    spki BLOB NOT NULL,
    image BLOB NOT NULL
);
CREATE INDEX key_releases_device ON key_releases (spki, at_ms);
