-- From version 2: parts of large files, files of this machine, options of recipes, pauses, what engines feel. The texts
-- are those of version 3 for ever, whatever schema.sql says by then.

CREATE TABLE new_dataset (
  id          INTEGER PRIMARY KEY,
  name        TEXT NOT NULL,
  revision    TEXT NOT NULL,
  subset      TEXT NOT NULL,
  source      TEXT NOT NULL CHECK (source IN ('hub', 'url', 's3', 'local')),
  origin      TEXT NOT NULL,
  local_root  TEXT NOT NULL,
  text_field  TEXT NOT NULL,
  created_at  REAL NOT NULL,
  UNIQUE (name, revision, subset)
) STRICT;
INSERT INTO new_dataset SELECT * FROM dataset;
DROP TABLE dataset;
ALTER TABLE new_dataset RENAME TO dataset;
CREATE INDEX dataset_place ON dataset (local_root, subset);

ALTER TABLE recipe ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
ALTER TABLE recipe ADD COLUMN output_dir TEXT NOT NULL DEFAULT '';
ALTER TABLE recipe ADD COLUMN vocab_size INTEGER;
ALTER TABLE recipe ADD COLUMN backend TEXT NOT NULL DEFAULT '';

-- Neither a UNIQUE nor a CHECK can be altered. Counters stay as they are: the triggers go with the old table, and the
-- copying of rows is over when they come again.
CREATE TABLE new_job (
  id           INTEGER PRIMARY KEY,
  dataset_id   INTEGER NOT NULL REFERENCES dataset (id),
  kind         TEXT NOT NULL CHECK (kind IN ('download', 'verify', 'tokenize', 'episode', 'build', 'upload')),
  path         TEXT NOT NULL,
  recipe_id    INTEGER NOT NULL DEFAULT 0,
  part         INTEGER NOT NULL DEFAULT 0,
  state        TEXT NOT NULL DEFAULT 'available'
               CHECK (state = 'available' OR state = 'running' OR state = 'completed' OR state = 'discarded'
                      OR state = 'cancelled'),
  priority     INTEGER NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9),
  run_at       REAL NOT NULL,
  size_bytes   INTEGER CHECK (size_bytes >= 0),
  done_bytes   INTEGER NOT NULL DEFAULT 0 CHECK (done_bytes >= 0),
  digest       TEXT,
  attempt      INTEGER NOT NULL DEFAULT 0,
  failures     INTEGER NOT NULL DEFAULT 0,
  crashes      INTEGER NOT NULL DEFAULT 0,
  owner        TEXT,
  lease_until  REAL,
  take_over    INTEGER NOT NULL DEFAULT 0 CHECK (take_over IN (0, 1)),
  validator    TEXT,
  had          TEXT NOT NULL DEFAULT '',
  result       TEXT,
  error_class  TEXT,
  error_text   TEXT,
  created_at   REAL NOT NULL,
  started_at   REAL,
  ended_at     REAL,
  CHECK ((state = 'running') = (lease_until IS NOT NULL)),
  CHECK ((state = 'running') = (owner IS NOT NULL)),
  CHECK (state IN ('available', 'running') OR ended_at IS NOT NULL),
  CHECK (kind = 'tokenize' OR (recipe_id = 0 AND part = 0)),
  UNIQUE (dataset_id, kind, path, recipe_id, part)
) STRICT;

INSERT INTO new_job (
  id, dataset_id, kind, path, recipe_id, state, priority, run_at, size_bytes, done_bytes, digest, attempt, failures, crashes,
  owner, lease_until, take_over, validator, had, result, error_class, error_text, created_at, started_at, ended_at)
SELECT
  id, dataset_id, kind, path, recipe_id, state, priority, run_at, size_bytes, done_bytes, digest, attempt, failures, crashes,
  owner, lease_until, take_over, validator, had, result, error_class, error_text, created_at, started_at, ended_at
  FROM job ORDER BY id;
DROP TABLE job;
ALTER TABLE new_job RENAME TO job;
CREATE INDEX job_available ON job (kind, priority, run_at, id) WHERE state = 'available';
CREATE INDEX job_running ON job (owner, lease_until) WHERE state = 'running';
CREATE INDEX job_error ON job (kind, error_class, state, run_at, started_at, ended_at)
  WHERE error_class IS NOT NULL;

CREATE TRIGGER job_step AFTER UPDATE OF state ON job
WHEN OLD.state <> NEW.state AND instr(
  'available>running available>cancelled '
  || 'running>completed running>available running>discarded running>cancelled '
  || 'discarded>cancelled completed>available discarded>available cancelled>available', OLD.state || '>' || NEW.state) = 0
BEGIN
  SELECT RAISE(ABORT, 'illegal step of a job');
END;

CREATE TRIGGER job_fence AFTER UPDATE OF attempt ON job WHEN NEW.attempt < OLD.attempt
BEGIN
  SELECT RAISE(ABORT, 'the attempt of a job never falls');
END;

CREATE TRIGGER job_insert AFTER INSERT ON job
BEGIN
  INSERT INTO counter VALUES
    (NEW.dataset_id, NEW.kind, NEW.state, 1, NEW.size_bytes IS NULL, coalesce(NEW.size_bytes, 0), NEW.done_bytes)
  ON CONFLICT DO UPDATE SET n = n + 1, n_unsized = n_unsized + excluded.n_unsized,
    size_bytes = size_bytes + excluded.size_bytes, done_bytes = done_bytes + excluded.done_bytes;
END;

CREATE TRIGGER job_move AFTER UPDATE OF state, size_bytes, done_bytes ON job
WHEN OLD.state <> NEW.state OR OLD.done_bytes <> NEW.done_bytes OR OLD.size_bytes IS NOT NEW.size_bytes
BEGIN
  UPDATE counter SET n = n - 1, n_unsized = n_unsized - (OLD.size_bytes IS NULL),
    size_bytes = size_bytes - coalesce(OLD.size_bytes, 0), done_bytes = done_bytes - OLD.done_bytes
    WHERE dataset_id = OLD.dataset_id AND kind = OLD.kind AND state = OLD.state;
  INSERT INTO counter VALUES
    (NEW.dataset_id, NEW.kind, NEW.state, 1, NEW.size_bytes IS NULL, coalesce(NEW.size_bytes, 0), NEW.done_bytes)
  ON CONFLICT DO UPDATE SET n = n + 1, n_unsized = n_unsized + excluded.n_unsized,
    size_bytes = size_bytes + excluded.size_bytes, done_bytes = done_bytes + excluded.done_bytes;
END;

CREATE TABLE input (
  dataset_id  INTEGER NOT NULL REFERENCES dataset (id),
  file        TEXT NOT NULL,
  path        TEXT NOT NULL,
  size_bytes  INTEGER NOT NULL,
  mtime_ns    INTEGER NOT NULL,
  PRIMARY KEY (dataset_id, file)
) STRICT, WITHOUT ROWID;
CREATE INDEX input_path ON input (dataset_id, path, file);

CREATE TABLE pause (
  what      TEXT NOT NULL CHECK (what IN ('kind', 'dataset', 'host')),
  name      TEXT NOT NULL,
  since     REAL NOT NULL,
  PRIMARY KEY (what, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE paused_dataset (
  dataset_id  INTEGER PRIMARY KEY REFERENCES dataset (id)
) STRICT;

CREATE INDEX attempt_recent ON attempt (ended_at);

ALTER TABLE engine ADD COLUMN cpu_s REAL NOT NULL DEFAULT 0;
ALTER TABLE engine ADD COLUMN rss_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE engine ADD COLUMN loop_lag_s REAL NOT NULL DEFAULT 0;
ALTER TABLE engine ADD COLUMN n_pool INTEGER NOT NULL DEFAULT 0;


CREATE TABLE traffic (
  owner         TEXT NOT NULL,
  host          TEXT NOT NULL,
  n_open        INTEGER NOT NULL,
  n_allowed     INTEGER NOT NULL,
  per_s         REAL NOT NULL,
  first_byte_s  REAL,
  n_refused     INTEGER NOT NULL,
  PRIMARY KEY (owner, host)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt_count (
  outcome      TEXT NOT NULL,
  error_class  TEXT NOT NULL,
  n            INTEGER NOT NULL,
  PRIMARY KEY (outcome, error_class)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER attempt_insert AFTER INSERT ON attempt
BEGIN
  INSERT INTO attempt_count VALUES (NEW.outcome, coalesce(NEW.error_class, ''), 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
INSERT INTO attempt_count SELECT outcome, coalesce(error_class, ''), count(*) FROM attempt GROUP BY 1, 2;
