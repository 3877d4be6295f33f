-- How far the numbered reports of a device are kept: `next` is the first number of `ring` that is not. One ring for each kind of report,
-- the last one: a device that begins a new one never goes back.
CREATE TABLE report_positions (
    spki BLOB NOT NULL,
    kind TEXT NOT NULL,
    ring BLOB NOT NULL,
    next BIGINT NOT NULL,
    PRIMARY KEY (spki, kind)
);
