-- The transparency log of releases is in files beside the database, so that one that was put back takes nothing from it.
DROP TABLE release_log;
