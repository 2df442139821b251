-- Every question to the queue that changes nothing, each under its name. All are short: a reader that stays
-- open keeps the WAL from being reused.

-- name: over_version_1
-- What version 1 has not got, so that all of this can be asked of it too, while an engine of that version runs.
CREATE TEMP VIEW engine AS
  SELECT owner, host, pid, identity, version, workers, started_at, beat_at, ended_at, per_s, n_requests, '' AS bound
    FROM main.engine;
CREATE TEMP TABLE host (name, connections_hint, connections_cap, paced_at);
CREATE TEMP TABLE gate (host, quota, closed_at, closed_until);

-- name: counters
SELECT kind, state, sum(n) AS n FROM counter GROUP BY kind, state HAVING sum(n) > 0;

-- name: bytes
-- What the downloads amount to; cancelled ones are nobody's wish any more.
SELECT coalesce(sum(size_bytes), 0), coalesce(sum(done_bytes), 0), coalesce(sum(n_unsized), 0)
  FROM counter WHERE kind = 'download' AND state <> 'cancelled';

-- name: datasets
SELECT d.name, d.subset, d.revision,
       sum(c.n), sum(CASE WHEN c.state = 'completed' THEN c.n ELSE 0 END),
       sum(c.size_bytes), sum(c.done_bytes)
  FROM counter c JOIN dataset d ON d.id = c.dataset_id
 WHERE c.kind = 'download' AND c.state <> 'cancelled' AND c.n > 0
 GROUP BY d.id ORDER BY d.name, d.subset, d.id;

-- name: stage_states
-- Which stages of a dataset are unfinished, to say what state the whole is in.
SELECT d.name, d.subset, d.revision, c.kind, c.state, c.n
  FROM counter c JOIN dataset d ON d.id = c.dataset_id WHERE c.n > 0 AND c.state <> 'cancelled';

-- name: errors
SELECT kind, error_class, count(*), max(coalesce(ended_at, started_at)),
       min(CASE WHEN state = 'available' THEN run_at END), max(id),
       sum(state = 'discarded')
  FROM job WHERE error_class IS NOT NULL AND state <> 'cancelled' GROUP BY kind, error_class ORDER BY 3 DESC;

-- name: error_text
SELECT error_text, path FROM job WHERE id = :id;

-- name: engines
SELECT owner, host, pid, identity, version, workers, started_at, beat_at, per_s, n_requests, bound
  FROM engine WHERE ended_at IS NULL ORDER BY started_at;

-- name: hosts
-- What is known of each host; closed_until: of the gate that opens last, which may be in the past.
SELECT n.name, h.connections_hint, h.connections_cap, h.paced_at,
       (SELECT max(closed_until) FROM gate WHERE host = n.name)
  FROM (SELECT name FROM host UNION SELECT host FROM gate) n LEFT JOIN host h ON h.name = n.name ORDER BY n.name;

-- name: dataset_by_id
SELECT id, name, revision, subset, source, origin, local_root, text_field FROM dataset WHERE id = :id;

-- name: recipe_by_name
SELECT id, name, tokenizer, tokenizer_path, tokenizer_sha256, eos_id, max_seq_length FROM recipe WHERE name = :name;

-- name: recipe_by_id
SELECT id, name, tokenizer, tokenizer_path, tokenizer_sha256, eos_id, max_seq_length FROM recipe WHERE id = :id;

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
SELECT id, name, tokenizer, tokenizer_path, tokenizer_sha256, eos_id, max_seq_length FROM recipe ORDER BY name;

-- name: tokenized_splits
SELECT DISTINCT d.name, d.subset FROM counter c JOIN dataset d ON d.id = c.dataset_id
 WHERE c.kind = 'tokenize' AND c.state = 'completed' AND c.n > 0 ORDER BY d.name, d.subset;

-- name: tokenized_of
-- The finished tokenize jobs of one recipe and split, in path order; of two revisions the later one wrote the shards.
WITH twin AS MATERIALIZED (SELECT id FROM dataset WHERE name = :dataset AND subset = :subset)
SELECT d.name, d.revision, d.subset, j.path, j.digest, j.result, p.result
  FROM dataset d CROSS JOIN job j ON j.dataset_id = d.id AND j.kind = 'tokenize' AND j.recipe_id = :recipe_id
   AND j.state = 'completed'
  LEFT JOIN job p ON p.dataset_id = j.dataset_id AND p.kind = 'download' AND p.path = j.path AND p.recipe_id = 0
 WHERE d.name = :dataset AND d.subset = :subset AND NOT EXISTS (
         SELECT 1 FROM twin CROSS JOIN job later ON later.dataset_id = twin.id AND later.kind = 'tokenize'
            AND later.path = j.path AND later.recipe_id = :recipe_id AND later.state = 'completed'
          WHERE (later.ended_at, later.id) > (j.ended_at, j.id))
 ORDER BY j.path;

-- name: n_known
-- How many of :pairs, JSON of [subset, path], are downloads of one dataset and revision.
SELECT count(*) FROM json_each(:pairs) p
  JOIN dataset d ON d.name = :name AND d.revision = :revision AND d.subset = p.value ->> 0
  JOIN job j ON j.dataset_id = d.id AND j.kind = 'download' AND j.path = p.value ->> 1 AND j.recipe_id = 0;
