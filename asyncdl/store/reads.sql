-- Every question to the queue that changes nothing, each under its name. All are short: a reader that stays
-- open keeps the WAL from being reused.

-- name: over_version_1
-- What version 1 has not got, so that all of this can be asked of it too, while an engine of that version runs.
CREATE TEMP VIEW engine AS
  SELECT owner, host, pid, identity, version, workers, started_at, beat_at, ended_at, per_s, n_requests, '' AS bound,
         0.0 AS cpu_s, 0 AS rss_bytes, 0.0 AS loop_lag_s, 0 AS n_pool
    FROM main.engine;
CREATE TEMP TABLE host (name, connections_hint, connections_cap, paced_at);
CREATE TEMP TABLE gate (host, quota, closed_at, closed_until);

-- name: over_version_2
-- As over_version_1, for what version 2 has not got.
CREATE TEMP VIEW job AS SELECT *, 0 AS part FROM main.job;
CREATE TEMP VIEW recipe AS SELECT *, '{}' AS options, '' AS output_dir, NULL AS vocab_size, '' AS backend FROM main.recipe;
CREATE TEMP VIEW IF NOT EXISTS engine AS  -- over version 1 there is one already
  SELECT *, 0.0 AS cpu_s, 0 AS rss_bytes, 0.0 AS loop_lag_s, 0 AS n_pool FROM main.engine;
CREATE TEMP TABLE input (dataset_id, file, path, size_bytes, mtime_ns);
CREATE TEMP TABLE pause (what, name, since);
CREATE TEMP TABLE paused_dataset (dataset_id);
CREATE TEMP VIEW attempt_count AS
  SELECT outcome, coalesce(error_class, '') AS error_class, count(*) AS n FROM main.attempt GROUP BY 1, 2;
CREATE TEMP TABLE traffic (owner, host, n_open, n_allowed, per_s, first_byte_s, n_refused);

-- name: counters
SELECT kind, state, sum(n) AS n FROM counter GROUP BY kind, state HAVING sum(n) > 0;

-- name: bytes
-- What the downloads amount to; cancelled ones are nobody's wish any more.
SELECT coalesce(sum(size_bytes), 0), coalesce(sum(done_bytes), 0), coalesce(sum(n_unsized), 0)
  FROM counter WHERE kind = 'download' AND state <> 'cancelled';

-- name: datasets
-- What is counted of a dataset are its downloads; of files of this machine, which have none, what looks through them.
-- Two of the last are of what is unfinished: bytes to come, and how many sizes are unknown, so that these are too few.
SELECT d.name, d.subset, d.revision,
       sum(c.n), sum(CASE WHEN c.state = 'completed' THEN c.n ELSE 0 END),
       sum(c.size_bytes), sum(c.done_bytes),
       sum(CASE WHEN c.state IN ('available', 'running') THEN c.size_bytes - c.done_bytes ELSE 0 END),
       sum(CASE WHEN c.state IN ('available', 'running') THEN c.n_unsized ELSE 0 END), d.source, d.origin
  FROM counter c JOIN dataset d ON d.id = c.dataset_id
 WHERE c.kind = CASE d.source WHEN 'local' THEN 'verify' ELSE 'download' END AND c.state <> 'cancelled' AND c.n > 0
 GROUP BY d.id ORDER BY d.name, d.subset, d.id;

-- name: stage_states
-- Which stages of a dataset are unfinished, to say what state the whole is in.
SELECT d.name, d.subset, d.revision, c.kind, c.state, c.n
  FROM counter c JOIN dataset d ON d.id = c.dataset_id WHERE c.n > 0 AND c.state <> 'cancelled';

-- name: errors
-- What is paused has no next try: its run_at is beyond 1e10, see queries.sql.
SELECT kind, error_class, count(*), max(coalesce(ended_at, started_at)),
       min(CASE WHEN state = 'available' AND run_at < 1e10 THEN run_at END), max(id),
       sum(state = 'discarded')
  FROM job WHERE error_class IS NOT NULL AND state <> 'cancelled' GROUP BY kind, error_class ORDER BY 3 DESC;

-- name: error_text
SELECT error_text, path FROM job WHERE id = :id;

-- name: engines
SELECT owner, host, pid, identity, version, workers, started_at, beat_at, per_s, n_requests, bound,
       cpu_s, rss_bytes, loop_lag_s, n_pool
  FROM engine WHERE ended_at IS NULL ORDER BY started_at;

-- name: hosts
-- What is known of each host; closed_until: of the gate that opens last, which may be in the past.
SELECT n.name, h.connections_hint, h.connections_cap, h.paced_at,
       (SELECT max(closed_until) FROM gate WHERE host = n.name)
  FROM (SELECT name FROM host UNION SELECT host FROM gate) n LEFT JOIN host h ON h.name = n.name ORDER BY n.name;

-- name: closed_gates
SELECT host, quota, closed_at, closed_until FROM gate WHERE closed_until > :now ORDER BY host, quota;

-- name: running
-- What is under way; job_running holds no other rows, so its length is that of all slots.
SELECT j.kind, d.name, d.subset, d.revision, j.path, j.started_at, j.attempt, j.size_bytes, j.done_bytes
  FROM job j JOIN dataset d ON d.id = j.dataset_id WHERE j.state = 'running' ORDER BY j.started_at LIMIT :n;

-- name: recent
-- The attempts that ended last without completing, the newest first, by attempt_recent.
SELECT a.ended_at, a.outcome, a.error_class, a.error_text, a.attempt, j.kind, d.name, d.subset, j.path
  FROM (SELECT * FROM attempt ORDER BY ended_at DESC LIMIT :n) a
  CROSS JOIN job j ON j.id = a.job_id CROSS JOIN dataset d ON d.id = j.dataset_id ORDER BY a.ended_at DESC;

-- name: paused
SELECT what, name, since FROM pause ORDER BY what, name;

-- name: traffic
-- What engines that have not ended have to do with each host just now.
SELECT t.owner, t.host, t.n_open, t.n_allowed, t.per_s, t.first_byte_s, t.n_refused
  FROM traffic t JOIN engine e ON e.owner = t.owner WHERE e.ended_at IS NULL ORDER BY t.host, t.owner;

-- name: dataset_by_id
SELECT id, name, revision, subset, source, origin, local_root, text_field FROM dataset WHERE id = :id;

-- name: recipe_by_id
SELECT id, name, tokenizer, tokenizer_path, tokenizer_sha256, eos_id, max_seq_length, options, output_dir, vocab_size
  FROM recipe WHERE id = :id;

-- name: s3_samples
SELECT o.origin, (SELECT path FROM job WHERE dataset_id = o.id AND kind = 'download'
                     AND state IN ('available', 'running') LIMIT 1)
  FROM (SELECT d.origin, min(d.id) AS id FROM counter c JOIN dataset d ON d.id = c.dataset_id
         WHERE d.source = 's3' AND c.kind = 'download' AND c.state IN ('available', 'running') AND c.n > 0
         GROUP BY d.origin) o;

-- name: bytes_to_fetch
-- What the disk must still take, for the check before a run.
SELECT coalesce(sum(size_bytes - done_bytes), 0), coalesce(sum(n), 0) FROM counter
 WHERE kind = 'download' AND state IN ('available', 'running');

-- name: dataset_ids
SELECT id FROM dataset ORDER BY name, subset, id;

-- name: files_of
-- Every download of one dataset that is not cancelled, in path order, with its verify job where there is one.
-- Revisions share a place on disk: of two that are completed only the later one is still there.
WITH twin AS MATERIALIZED (SELECT o.id FROM dataset o JOIN dataset d ON o.name = d.name AND o.subset = d.subset
                            WHERE d.id = :dataset_id AND o.id <> d.id)
SELECT d.name, d.revision, d.local_root, j.path, j.size_bytes, j.digest, j.state, j.result, j.error_class,
       v.state, v.result, v.error_class
  FROM job j CROSS JOIN dataset d ON d.id = j.dataset_id
  LEFT JOIN job v ON v.dataset_id = j.dataset_id AND v.kind = 'verify' AND v.path = j.path AND v.recipe_id = 0
 WHERE j.dataset_id = :dataset_id AND j.kind = 'download' AND j.state <> 'cancelled'
   AND NOT (j.state = 'completed' AND EXISTS (
         SELECT 1 FROM twin CROSS JOIN job later ON later.dataset_id = twin.id AND later.kind = 'download'
            AND later.path = j.path AND later.recipe_id = 0 AND later.state = 'completed'
          WHERE (later.ended_at, later.id) > (j.ended_at, j.id)))
 ORDER BY j.path;

-- name: recipes
SELECT id, name, tokenizer, tokenizer_path, tokenizer_sha256, eos_id, max_seq_length, options, output_dir, vocab_size
  FROM recipe ORDER BY name;

-- name: backends
SELECT name, backend FROM recipe WHERE backend <> '' ORDER BY name;

-- name: tokenized_splits
SELECT DISTINCT d.name, d.subset FROM counter c JOIN dataset d ON d.id = c.dataset_id
 WHERE c.kind = 'tokenize' AND c.state = 'completed' AND c.n > 0 ORDER BY d.name, d.subset;

-- name: tokenized_of
-- The finished tokenize jobs of one recipe and split, in path order; of two revisions the later one wrote the shards.
WITH twin AS MATERIALIZED (SELECT id FROM dataset WHERE name = :dataset AND subset = :subset)
SELECT d.id, d.name, d.revision, d.subset, j.path, j.part, j.digest, j.result, p.result, v.result
  FROM dataset d CROSS JOIN job j ON j.dataset_id = d.id AND j.kind = 'tokenize' AND j.recipe_id = :recipe_id
   AND j.state = 'completed'
  LEFT JOIN job p ON p.dataset_id = j.dataset_id AND p.kind = 'download' AND p.path = j.path AND p.recipe_id = 0
  LEFT JOIN job v ON v.dataset_id = j.dataset_id AND v.kind = 'verify' AND v.path = j.path AND v.recipe_id = 0
 WHERE d.name = :dataset AND d.subset = :subset AND NOT EXISTS (
         SELECT 1 FROM twin CROSS JOIN job later ON later.dataset_id = twin.id AND later.kind = 'tokenize'
            AND later.path = j.path AND later.recipe_id = :recipe_id AND later.state = 'completed'
            AND later.dataset_id <> j.dataset_id
          WHERE (later.ended_at, later.id) > (j.ended_at, j.id))
 ORDER BY j.path, j.part;

-- name: verify_result
SELECT result FROM job WHERE dataset_id = :dataset_id AND kind = 'verify' AND path = :path AND recipe_id = 0
   AND state = 'completed';

-- name: inputs_of
-- The files of this machine that one job packs, in the order in which they are packed.
SELECT file FROM input WHERE dataset_id = :dataset_id AND path = :path ORDER BY file;

-- name: made_of
-- What was made of a dataset, or of a folder of this machine, with one recipe: to be looked for on disk.
SELECT j.id, d.name, d.subset, j.result
  FROM recipe r CROSS JOIN dataset d ON d.name = :name OR (d.source = 'local' AND d.origin = :origin)
  CROSS JOIN job j ON j.dataset_id = d.id AND j.kind = 'tokenize' AND j.recipe_id = r.id AND j.state = 'completed'
 WHERE r.name = :recipe ORDER BY j.id;

-- name: dataset_names
SELECT DISTINCT name FROM dataset ORDER BY name;

-- name: tokenized_names
-- Of what shards are made, finished or not: splits that this queue answers for.
SELECT DISTINCT d.name, d.subset FROM counter c JOIN dataset d ON d.id = c.dataset_id
 WHERE c.kind = 'tokenize' AND c.n > 0;

-- name: n_known
-- How many of :pairs, JSON of [subset, path], are downloads of one dataset and revision.
SELECT count(*) FROM json_each(:pairs) p
  JOIN dataset d ON d.name = :name AND d.revision = :revision AND d.subset = p.value ->> 0
  JOIN job j ON j.dataset_id = d.id AND j.kind = 'download' AND j.path = p.value ->> 1 AND j.recipe_id = 0;

-- name: page_of_jobs
-- One dataset's jobs of one kind after (:path, :id), in path order; a walk along the UNIQUE index of job.
SELECT j.id, j.kind, d.name, d.revision, d.subset, j.path, coalesce(r.name, ''), j.state, j.size_bytes, j.done_bytes,
       j.attempt, j.run_at, j.started_at, j.ended_at, j.error_class, j.error_text
  FROM job j CROSS JOIN dataset d ON d.id = j.dataset_id LEFT JOIN recipe r ON r.id = j.recipe_id
 WHERE j.dataset_id = (SELECT id FROM dataset WHERE name = :name AND revision = :revision AND subset = :subset)
   AND j.kind = :kind AND (j.path, j.id) > (:path, :id)
 ORDER BY j.path, j.id LIMIT :n;

-- name: page_of_errors
-- The jobs whose last attempt failed in one way, after :id; the + keeps the search on job_error, which holds all of it.
SELECT j.id, j.kind, d.name, d.revision, d.subset, j.path, coalesce(r.name, ''), j.state, j.size_bytes, j.done_bytes,
       j.attempt, j.run_at, j.started_at, j.ended_at, j.error_class, j.error_text
  FROM (SELECT id FROM job WHERE kind = :kind AND error_class = :error_class AND state <> 'cancelled' AND +id > :id
         ORDER BY +id LIMIT :n) p
  CROSS JOIN job j ON j.id = p.id CROSS JOIN dataset d ON d.id = j.dataset_id LEFT JOIN recipe r ON r.id = j.recipe_id
 ORDER BY j.id;

-- name: job_by_id
SELECT j.id, j.kind, d.name, d.revision, d.subset, j.path, coalesce(r.name, ''), j.state, j.size_bytes, j.done_bytes,
       j.attempt, j.run_at, j.started_at, j.ended_at, j.error_class, j.error_text
  FROM job j CROSS JOIN dataset d ON d.id = j.dataset_id LEFT JOIN recipe r ON r.id = j.recipe_id
 WHERE j.id = :id;

-- name: attempts_of
SELECT attempt, owner, started_at, ended_at, outcome, error_class, error_text
  FROM attempt WHERE job_id = :id ORDER BY attempt DESC LIMIT :n;

-- name: attempt_sums
-- All attempts that did not complete their job, and settles that came too late.
SELECT outcome, error_class, n FROM attempt_count ORDER BY 1, 2;

-- name: n_paused
-- Jobs of :kinds (JSON) that could be claimed but for a pause, of their kind or of their dataset (:paused, JSON of ids).
SELECT coalesce(sum(n), 0) FROM counter
 WHERE state = 'available' AND kind IN (SELECT value FROM json_each(:kinds))
   AND (kind IN (SELECT name FROM pause WHERE what = 'kind') OR dataset_id IN (SELECT value FROM json_each(:paused)));

-- name: ids_of_error
-- The list of kinds makes it a search in job_error rather than a walk past every job.
SELECT id FROM job
 WHERE kind IN ('download', 'verify', 'tokenize', 'episode', 'build', 'upload') AND error_class = :error_class
   AND state <> 'cancelled' ORDER BY +id;

-- name: failed_jobs
SELECT j.id, j.kind, d.name, d.subset, j.path, j.state, j.attempt, j.failures,
       j.run_at >= 1e10 OR j.kind IN (SELECT name FROM pause WHERE what = 'kind'),
       j.run_at, j.ended_at, coalesce(j.error_class, ''), coalesce(j.error_text, '')
  FROM json_each(:ids) g CROSS JOIN job j ON j.id = g.value CROSS JOIN dataset d ON d.id = j.dataset_id ORDER BY j.id;

-- name: dataset_places
-- Each dataset once for each place that it comes from.
SELECT DISTINCT name, origin FROM dataset ORDER BY name, origin;

-- name: error_classes
SELECT DISTINCT error_class FROM job WHERE error_class IS NOT NULL ORDER BY error_class;

-- name: scan_of_jobs
-- What the counters should say; reads every job.
SELECT dataset_id, kind, state, count(*), sum(size_bytes IS NULL), coalesce(sum(size_bytes), 0), sum(done_bytes)
  FROM job GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- name: all_counters
SELECT dataset_id, kind, state, n, n_unsized, size_bytes, done_bytes FROM counter
 WHERE n OR n_unsized OR size_bytes OR done_bytes ORDER BY 1, 2, 3;

-- name: open_downloads
-- Whose partials are somebody's: where the files of unfinished downloads are.
SELECT d.local_root, j.path FROM dataset d CROSS JOIN job j ON j.dataset_id = d.id AND j.kind = 'download'
   AND j.state IN ('available', 'running', 'discarded');

-- name: quick_check
PRAGMA quick_check;

-- name: orphans
SELECT DISTINCT "table", parent FROM pragma_foreign_key_check;

-- name: user_version
PRAGMA user_version;
