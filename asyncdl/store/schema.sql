-- The queue. The row is the truth; manifests, counters on screen and logs are derived from it.
-- Times are UTC seconds (REAL). Applied once to a new file; later versions are steps in migrate.py.

-- One subset of one dataset at one revision. Small: a row per folder, not per file.
CREATE TABLE dataset (
  id          INTEGER PRIMARY KEY,
  name        TEXT NOT NULL,
  revision    TEXT NOT NULL,          -- '' where the source has none: what it lists may change
  subset      TEXT NOT NULL,
  source      TEXT NOT NULL CHECK (source IN ('hub', 'url', 's3', 'local')),
  origin      TEXT NOT NULL,          -- URLs are built from it; never a secret, never a signed query. local: a folder
  local_root  TEXT NOT NULL,
  text_field  TEXT NOT NULL,
  created_at  REAL NOT NULL,
  UNIQUE (name, revision, subset)
) STRICT;

-- Finds the revisions that share one place on disk; an enqueue asks once for each subset.
CREATE INDEX dataset_place ON dataset (local_root, subset);

-- How documents become shards; a dataset is tokenized once for each recipe tied to it.
CREATE TABLE recipe (
  id                INTEGER PRIMARY KEY,
  name              TEXT NOT NULL UNIQUE,   -- <tokenizer>-<length>, the folder below tokenized/
  tokenizer         TEXT NOT NULL,
  tokenizer_path    TEXT NOT NULL,
  tokenizer_sha256  TEXT NOT NULL,
  eos_id            INTEGER NOT NULL,
  max_seq_length    INTEGER NOT NULL CHECK (max_seq_length > 1),
  options           TEXT NOT NULL DEFAULT '{}',  -- JSON: what core.recipes.Options has and is not its default
  output_dir        TEXT NOT NULL DEFAULT '',    -- absolute; '' is tokenized/<name> below the data dir
  vocab_size        INTEGER,
  backend           TEXT NOT NULL DEFAULT ''     -- what made the ids last, and why not the fast one
) STRICT;

CREATE TABLE dataset_recipe (
  dataset_id  INTEGER NOT NULL REFERENCES dataset (id),
  recipe_id   INTEGER NOT NULL REFERENCES recipe (id),
  PRIMARY KEY (dataset_id, recipe_id)
) STRICT, WITHOUT ROWID;

-- What is checked at every step of a job has no IN list of more than two: SQLite builds a temporary B-tree for
-- each longer one in each statement, which cost 4 of a settle's 12 us.
CREATE TABLE job (
  id           INTEGER PRIMARY KEY,
  dataset_id   INTEGER NOT NULL REFERENCES dataset (id),
  kind         TEXT NOT NULL CHECK (kind IN ('download', 'verify', 'tokenize', 'episode', 'build', 'upload')),
  path         TEXT NOT NULL,
  recipe_id    INTEGER NOT NULL DEFAULT 0,
  part         INTEGER NOT NULL DEFAULT 0,     -- of a large file, counted from 0: which of verify's parts is tokenized
  state        TEXT NOT NULL DEFAULT 'available'
               CHECK (state = 'available' OR state = 'running' OR state = 'completed' OR state = 'discarded'
                      OR state = 'cancelled'),
  priority     INTEGER NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9),   -- 0 first
  run_at       REAL NOT NULL,          -- not before
  size_bytes   INTEGER CHECK (size_bytes >= 0),
  done_bytes   INTEGER NOT NULL DEFAULT 0 CHECK (done_bytes >= 0),
  digest       TEXT,                   -- what the source promises, `sha256:...`, `git-sha1:...` or `md5:...`
  attempt      INTEGER NOT NULL DEFAULT 0,     -- the fence: grows with each claim, never falls
  failures     INTEGER NOT NULL DEFAULT 0,     -- attempts in a row without a new byte
  crashes      INTEGER NOT NULL DEFAULT 0,     -- worker deaths and expired leases charged to this job
  owner        TEXT,                   -- the engine that holds the lease
  lease_until  REAL,
  take_over    INTEGER NOT NULL DEFAULT 0 CHECK (take_over IN (0, 1)),  -- the last holder may still be alive
  validator    TEXT,                   -- what the bytes in `had` belong to, or what a listing names
  had          TEXT NOT NULL DEFAULT '',  -- ranges covered by a completed fdatasync, half-open
  result       TEXT,                   -- JSON: what a completed job found
  error_class  TEXT,                   -- of the last attempt; NULL once it went well
  error_text   TEXT,
  created_at   REAL NOT NULL,
  started_at   REAL,
  ended_at     REAL,
  CHECK ((state = 'running') = (lease_until IS NOT NULL)),
  CHECK ((state = 'running') = (owner IS NOT NULL)),
  CHECK (state IN ('available', 'running') OR ended_at IS NOT NULL),
  CHECK (kind = 'tokenize' OR (recipe_id = 0 AND part = 0)),
  UNIQUE (dataset_id, kind, path, recipe_id, part)   -- enqueueing again finds the job; a dead one is revived
) STRICT;

-- Files of this machine that are tokenized where they lie. path: of the job that packs the file, its own or a group's.
CREATE TABLE input (
  dataset_id  INTEGER NOT NULL REFERENCES dataset (id),
  file        TEXT NOT NULL,
  path        TEXT NOT NULL,
  size_bytes  INTEGER NOT NULL,
  mtime_ns    INTEGER NOT NULL,         -- size and time say whether it must be hashed again
  PRIMARY KEY (dataset_id, file)
) STRICT, WITHOUT ROWID;
CREATE INDEX input_path ON input (dataset_id, path, file);

-- What a person has paused: nothing of it is claimed.
CREATE TABLE pause (
  what      TEXT NOT NULL CHECK (what IN ('kind', 'dataset', 'host')),
  name      TEXT NOT NULL,
  since     REAL NOT NULL,
  PRIMARY KEY (what, name)
) STRICT, WITHOUT ROWID;

-- The datasets that pauses stand for, by their name or their host, for claims: to read it off all datasets takes 5 ms
-- where there are 5 500. Listed anew by whoever writes a pause or a dataset.
CREATE TABLE paused_dataset (
  dataset_id  INTEGER PRIMARY KEY REFERENCES dataset (id)
) STRICT;

-- The claim's order, for jobs that can be claimed and no others: a finished job costs nothing here.
CREATE INDEX job_available ON job (kind, priority, run_at, id) WHERE state = 'available';
CREATE INDEX job_running ON job (owner, lease_until) WHERE state = 'running';
-- Covers the summary of errors, which `status` asks for again and again: 4 ms with 10 000 errors, 54 without.
CREATE INDEX job_error ON job (kind, error_class, state, run_at, started_at, ended_at)
  WHERE error_class IS NOT NULL;

-- core/states.py has the same table; a test compares them. AFTER, because a BEFORE trigger makes SQLite look the
-- row up a second time; RAISE(ABORT) takes the statement back all the same.
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

-- Every attempt that did not complete, for ever: history is data. (The completing one is the job's own row.)
CREATE TABLE attempt (
  job_id       INTEGER NOT NULL,
  attempt      INTEGER NOT NULL,
  owner        TEXT NOT NULL,
  started_at   REAL,
  ended_at     REAL NOT NULL,
  outcome      TEXT NOT NULL
               CHECK (outcome IN ('retry', 'parked', 'discarded', 'released', 'rescued', 'orphaned', 'crashed')),
  error_class  TEXT,
  error_text   TEXT,
  PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_recent ON attempt (ended_at);

-- How many there were of each kind, for metrics: a million attempts take a second to count. `fenced` are settles that
-- came too late: the job was another's by then.
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

-- Sums by trigger: `status` must not scan ten million rows.
CREATE TABLE counter (
  dataset_id  INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  state       TEXT NOT NULL,
  n           INTEGER NOT NULL DEFAULT 0 CHECK (n >= 0),
  n_unsized   INTEGER NOT NULL DEFAULT 0 CHECK (n_unsized >= 0),
  size_bytes  INTEGER NOT NULL DEFAULT 0 CHECK (size_bytes >= 0),
  done_bytes  INTEGER NOT NULL DEFAULT 0 CHECK (done_bytes >= 0),
  PRIMARY KEY (dataset_id, kind, state)
) STRICT, WITHOUT ROWID;

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

-- The engines that have run here; a row outlives its engine so that status can show it dead.
CREATE TABLE engine (
  owner       TEXT PRIMARY KEY,
  host        TEXT NOT NULL,
  pid         INTEGER NOT NULL,
  identity    TEXT NOT NULL,     -- boot, pid namespace, pid, start time: the same text is the same process
  version     TEXT NOT NULL,
  workers     INTEGER NOT NULL,
  started_at  REAL NOT NULL,
  beat_at     REAL NOT NULL,
  ended_at    REAL,
  per_s       REAL NOT NULL DEFAULT 0,   -- body bytes per second, as the engine measured
  n_requests  INTEGER NOT NULL DEFAULT 0, -- requests open at the last beat
  bound       TEXT NOT NULL DEFAULT '',   -- what bounds its speed; '' unknown
  cpu_s       REAL NOT NULL DEFAULT 0,    -- processor seconds so far, worker processes not included
  rss_bytes   INTEGER NOT NULL DEFAULT 0,
  loop_lag_s  REAL NOT NULL DEFAULT 0,    -- how late its event loop woke up at the last beat
  n_pool      INTEGER NOT NULL DEFAULT 0  -- worker processes that have a task
) STRICT;

-- What an engine has to do with each host just now; gone when the engine ends.
CREATE TABLE traffic (
  owner         TEXT NOT NULL,
  host          TEXT NOT NULL,
  n_open        INTEGER NOT NULL,      -- requests
  n_allowed     INTEGER NOT NULL,      -- requests that pace allows
  per_s         REAL NOT NULL,         -- body bytes
  first_byte_s  REAL,                  -- from the request to its answer, smoothed; NULL before the first
  n_refused     INTEGER NOT NULL,      -- answers 429 and 503 so far
  PRIMARY KEY (owner, host)
) STRICT, WITHOUT ROWID;

-- What hosts can take, as pace found out; worth a day.
CREATE TABLE host (
  name              TEXT PRIMARY KEY,
  connections_hint  INTEGER NOT NULL CHECK (connections_hint > 0),  -- where pace may begin
  connections_cap   INTEGER CHECK (connections_cap > 0),            -- more were refused; NULL: none is known
  paced_at          REAL NOT NULL
) STRICT;

-- Hosts that asked to be left alone, so that the next engine leaves them alone too.
CREATE TABLE gate (
  host          TEXT NOT NULL,
  quota         TEXT NOT NULL,          -- the class of requests, '' where the host has but one
  closed_at     REAL NOT NULL,
  closed_until  REAL NOT NULL,
  PRIMARY KEY (host, quota)
) STRICT, WITHOUT ROWID;
