-- From version 1: s3 as a source, what bounds an engine, what is known of hosts. The texts are those of version 2
-- for ever, whatever schema.sql says by then.

-- A CHECK cannot be altered. The dataset table is small, and `job` names it by its name, which stays
-- (sqlite.org/lang_altertable.html, section 7, with foreign keys off).
CREATE TABLE new_dataset (
  id          INTEGER PRIMARY KEY,
  name        TEXT NOT NULL,
  revision    TEXT NOT NULL,
  subset      TEXT NOT NULL,
  source      TEXT NOT NULL CHECK (source IN ('hub', 'url', 's3')),
  origin      TEXT NOT NULL,
  local_root  TEXT NOT NULL,
  text_field  TEXT NOT NULL,
  created_at  REAL NOT NULL,
  UNIQUE (name, revision, subset)
) STRICT;
INSERT INTO new_dataset (id, name, revision, subset, source, origin, local_root, text_field, created_at)
SELECT id, name, revision, subset, source, origin, local_root, text_field, created_at FROM dataset;
DROP TABLE dataset;
ALTER TABLE new_dataset RENAME TO dataset;
CREATE INDEX dataset_place ON dataset (local_root, subset);

ALTER TABLE engine ADD COLUMN bound TEXT NOT NULL DEFAULT '';

CREATE TABLE host (
  name              TEXT PRIMARY KEY,
  connections_hint  INTEGER NOT NULL CHECK (connections_hint > 0),
  connections_cap   INTEGER CHECK (connections_cap > 0),
  paced_at          REAL NOT NULL
) STRICT;

CREATE TABLE gate (
  host          TEXT NOT NULL,
  quota         TEXT NOT NULL,
  closed_at     REAL NOT NULL,
  closed_until  REAL NOT NULL,
  PRIMARY KEY (host, quota)
) STRICT, WITHOUT ROWID;
