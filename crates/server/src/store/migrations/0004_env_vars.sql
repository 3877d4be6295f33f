-- Constants that a device group gives to the code that is deployed to it: one JSON object.
ALTER TABLE devicegroups ADD COLUMN env_vars TEXT NOT NULL DEFAULT '{}';
