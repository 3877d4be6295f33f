-- Listings are read in these orders.
CREATE INDEX deployments_order ON deployments (created_ms DESC, id);
CREATE INDEX devices_owner ON devices (owner_id, enrolled_ms, id);
-- Is an image still deployed?
CREATE INDEX deployments_device_app ON deployments (device_app_sha256);
CREATE INDEX deployments_agent_app ON deployments (agent_app_sha256);

-- Devices that were deleted: what they still wrote behind at that moment is removed a little later.
CREATE TABLE deleted_devices (
    spki BLOB NOT NULL PRIMARY KEY,
    agent_id TEXT NOT NULL,
    deleted_ms BIGINT NOT NULL
);
