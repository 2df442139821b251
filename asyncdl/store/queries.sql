-- Every statement of the queue, each under its name. Python builds no SQL.
-- :owner, :attempt and state = 'running' together are the fence: a statement that changes no row has lost it.

-- name: claim
-- Take the next :n jobs of one kind and priority. The inner WHERE repeats that of job_available literally,
-- or the planner would not use it. One writer at a time, so no two engines see the same row.
UPDATE job
   SET state = 'running', owner = :owner, lease_until = :now + :lease_s, attempt = attempt + 1, started_at = :now
 WHERE id IN (SELECT id FROM job
               WHERE state = 'available' AND kind = :kind AND priority = :priority AND run_at <= :now
               ORDER BY run_at, id LIMIT max(:n, 0))
RETURNING id, kind, dataset_id, recipe_id, path, attempt, failures, size_bytes, digest, had, validator, take_over,
  (SELECT count(*) FROM attempt WHERE job_id = job.id AND error_class = 'digest_mismatch');

-- name: is_due
-- Whether `claim` would find something. An UPDATE that finds nothing costs forty times as much: 75 us.
SELECT 1 FROM job WHERE state = 'available' AND kind = :kind AND priority = :priority AND run_at <= :now LIMIT 1;

-- name: renew
-- Prolong all leases of one engine at once; the ids that come back are the ones it still has.
UPDATE job SET lease_until = :now + :lease_s WHERE state = 'running' AND owner = :owner RETURNING id, attempt;

-- name: still_held
SELECT 1 FROM job WHERE id = :id AND owner = :owner AND attempt = :attempt AND state = 'running';

-- name: progress
-- New durable ranges. The bytes prove that the job is no poison, so crashes start again from zero.
UPDATE job SET had = :had, validator = :validator, size_bytes = :size_bytes, done_bytes = :done_bytes,
  take_over = 0, crashes = 0
 WHERE id = :id AND owner = :owner AND attempt = :attempt AND state = 'running';

-- name: complete
UPDATE job SET state = 'completed', owner = NULL, lease_until = NULL, ended_at = :now, size_bytes = :size_bytes,
  done_bytes = coalesce(:size_bytes, 0), had = '', failures = 0, crashes = 0, take_over = 0, result = :result,
  error_class = NULL, error_text = NULL
 WHERE id = :id AND owner = :owner AND attempt = :attempt AND state = 'running';

-- name: give_back
-- Retry, park and release: the job can be claimed again from :run_at. NULL texts keep the last error. take_over
-- stays: who gives back untried has not taken over.
UPDATE job SET state = 'available', owner = NULL, lease_until = NULL, run_at = :run_at,
  failures = :failures, crashes = crashes + :crashed,
  error_class = coalesce(:error_class, error_class), error_text = coalesce(:error_text, error_text)
 WHERE id = :id AND owner = :owner AND attempt = :attempt AND state = 'running'
RETURNING started_at;

-- name: discard
UPDATE job SET state = 'discarded', owner = NULL, lease_until = NULL, ended_at = :now,
  error_class = :error_class, error_text = :error_text
 WHERE id = :id AND owner = :owner AND attempt = :attempt AND state = 'running'
RETURNING started_at;

-- name: forget_bytes
-- The object changed or its content is wrong: nothing of it is had any more.
UPDATE job SET had = '', validator = :validator, done_bytes = 0
 WHERE id = :id AND owner = :owner AND attempt = :attempt AND state = 'running';

-- name: crashes
SELECT crashes FROM job WHERE id = :id;

-- name: log_attempt
INSERT INTO attempt VALUES (:id, :attempt, :owner, :started_at, :now, :outcome, :error_class, :error_text);

-- name: insert_child
-- What :parent_id made possible, as urgent as itself. A parent that was done again makes its children be done again;
-- a child under way is left alone.
INSERT INTO job (dataset_id, kind, path, recipe_id, size_bytes, digest, priority, run_at, created_at)
SELECT :dataset_id, :kind, :path, :recipe_id, :size_bytes, :digest, priority, :now, :now FROM job WHERE id = :parent_id
ON CONFLICT (dataset_id, kind, path, recipe_id) DO UPDATE
   SET state = 'available', run_at = excluded.run_at, ended_at = NULL, failures = 0, crashes = 0, done_bytes = 0,
       size_bytes = excluded.size_bytes, digest = excluded.digest, result = NULL,
       error_class = NULL, error_text = NULL
 WHERE state IN ('completed', 'discarded', 'cancelled');

-- name: insert_child_per_recipe
-- The same, once for each recipe that the dataset has by now: an enqueue may tie another while the parent runs, and
-- only within this transaction is it sure that either it or the enqueue sees the file.
INSERT INTO job (dataset_id, kind, path, recipe_id, size_bytes, digest, priority, run_at, created_at)
SELECT :dataset_id, :kind, :path, t.recipe_id, :size_bytes, :digest, p.priority, :now, :now
  FROM dataset_recipe t JOIN job p ON p.id = :parent_id WHERE t.dataset_id = :dataset_id
ON CONFLICT (dataset_id, kind, path, recipe_id) DO UPDATE
   SET state = 'available', run_at = excluded.run_at, ended_at = NULL, failures = 0, crashes = 0, done_bytes = 0,
       size_bytes = excluded.size_bytes, digest = excluded.digest, result = NULL,
       error_class = NULL, error_text = NULL
 WHERE state IN ('completed', 'discarded', 'cancelled');

-- name: expired
-- Not one's own: after a suspend or a jump of the clock the engine renews them, or finds out that it cannot.
SELECT id, owner, attempt, crashes, started_at FROM job
 WHERE state = 'running' AND lease_until < :now AND owner <> :owner LIMIT :n;

-- name: held_by
SELECT id, owner, attempt, crashes, started_at FROM job WHERE state = 'running' AND owner = :owner LIMIT :n;

-- name: rescue
UPDATE job SET state = 'available', owner = NULL, lease_until = NULL, run_at = :now, crashes = :crashes,
  take_over = max(take_over, :take_over)
 WHERE id = :id AND attempt = :attempt AND state = 'running';

-- name: rescue_last
UPDATE job SET state = 'discarded', owner = NULL, lease_until = NULL, ended_at = :now, crashes = :crashes,
  take_over = max(take_over, :take_over), error_class = :error_class, error_text = :error_text
 WHERE id = :id AND attempt = :attempt AND state = 'running';

-- name: put_dataset
INSERT INTO dataset (name, revision, subset, source, origin, local_root, text_field, created_at)
VALUES (:name, :revision, :subset, :source, :origin, :local_root, :text_field, :now)
ON CONFLICT (name, revision, subset) DO UPDATE SET origin = excluded.origin, text_field = excluded.text_field
RETURNING id;

-- name: put_recipe
INSERT INTO recipe (name, tokenizer, tokenizer_path, tokenizer_sha256, eos_id, max_seq_length)
VALUES (:name, :tokenizer, :tokenizer_path, :tokenizer_sha256, :eos_id, :max_seq_length)
ON CONFLICT (name) DO UPDATE SET tokenizer_path = excluded.tokenizer_path
RETURNING id;

-- name: staged_tables
-- Artifacts wait here, in a file of SQLite's own beside no one's way, until all of a listing is known.
CREATE TEMP TABLE IF NOT EXISTS staged (
  path TEXT PRIMARY KEY, subset INTEGER NOT NULL, size_bytes INTEGER, digest TEXT, validator TEXT,
  missing INTEGER NOT NULL, changed INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TEMP TABLE IF NOT EXISTS staged_subset (subset INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL) STRICT;

CREATE TEMP TABLE IF NOT EXISTS staged_fold (folded TEXT PRIMARY KEY, path TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- name: clear_staged
DELETE FROM temp.staged;
DELETE FROM temp.staged_fold;
DELETE FROM temp.staged_subset;

-- name: stage
INSERT INTO temp.staged (path, subset, size_bytes, digest, validator, missing) VALUES (?, ?, ?, ?, ?, ?);

-- name: stage_fold
INSERT INTO temp.staged_fold VALUES (?, ?);

-- name: fold_twin
SELECT path FROM temp.staged_fold WHERE folded = :folded;

-- name: stage_subset
INSERT INTO temp.staged_subset VALUES (:subset, :dataset_id);

-- name: n_staged
SELECT count(*) FROM temp.staged;

-- name: mark_changed
-- Of a source without revisions, what is not the object that the queue knows any more: a file on disk is not its file.
-- A fact that the listing leaves out is not compared, and a download under way finds out by itself.
UPDATE temp.staged SET changed = 1, missing = 1
 WHERE path IN (SELECT s.path
                  FROM temp.staged_subset u CROSS JOIN dataset d ON d.id = u.dataset_id AND d.revision = ''
                  CROSS JOIN job j ON j.dataset_id = d.id AND j.kind = 'download' AND j.state <> 'running'
                  CROSS JOIN temp.staged s ON s.path = j.path AND s.subset = u.subset
                 WHERE (s.size_bytes IS NOT NULL AND s.size_bytes IS NOT j.size_bytes)
                    OR (s.digest IS NOT NULL AND s.digest IS NOT j.digest)
                    OR (s.validator IS NOT NULL AND s.validator IS NOT j.validator));

-- name: outdate_stages
-- What was still to be done with the old content; the download makes it be done with the new.
UPDATE job SET state = 'cancelled', owner = NULL, lease_until = NULL, ended_at = :now,
  take_over = max(take_over, state = 'running')
 WHERE id IN (SELECT j.id
                FROM temp.staged s CROSS JOIN temp.staged_subset u ON u.subset = s.subset
                CROSS JOIN job j ON j.dataset_id = u.dataset_id AND j.kind IN ('verify', 'tokenize')
                       AND j.path = s.path AND j.state IN ('available', 'running', 'discarded')
               WHERE s.changed);

-- name: enqueue_staged
-- :missing rows have no finished file on disk, so even a completed download is revived. What a discarded one
-- had of its bytes it keeps, unless the object changed. A finished file waits to be adopted: its bytes are done, so
-- that no room is asked for them. CROSS JOIN: in the order of the paths, so that B-trees grow at their ends.
INSERT INTO job (dataset_id, kind, path, size_bytes, digest, validator, priority, run_at, created_at, done_bytes)
SELECT u.dataset_id, 'download', s.path, s.size_bytes, s.digest, s.validator, :priority, :now, :now,
       CASE WHEN s.missing THEN 0 ELSE coalesce(s.size_bytes, 0) END
  FROM temp.staged s CROSS JOIN temp.staged_subset u ON u.subset = s.subset WHERE true ORDER BY s.path
ON CONFLICT (dataset_id, kind, path, recipe_id) DO UPDATE
   SET state = 'available', run_at = excluded.run_at, ended_at = NULL, failures = 0, crashes = 0,
       size_bytes = excluded.size_bytes, digest = excluded.digest,
       (had, done_bytes) = (
         SELECT CASE WHEN s.changed THEN '' ELSE had END,
                CASE WHEN excluded.done_bytes > 0 THEN excluded.done_bytes
                     WHEN had = '' OR s.changed THEN 0 ELSE done_bytes END
           FROM temp.staged s WHERE s.path = job.path),
       validator = coalesce(excluded.validator, CASE state WHEN 'completed' THEN NULL ELSE validator END),
       result = NULL, error_class = NULL, error_text = NULL
 WHERE state IN ('discarded', 'cancelled')
    OR (state <> 'running' AND (SELECT changed OR (missing AND state = 'completed')
                                  FROM temp.staged s WHERE s.path = job.path));

-- name: others_of_place
-- Other names (an http and an https host, two ports) whose files have the local paths of what is staged.
SELECT DISTINCT old.name
  FROM temp.staged_subset u CROSS JOIN dataset new ON new.id = u.dataset_id
  CROSS JOIN dataset old ON old.local_root = new.local_root AND old.subset = new.subset AND old.name <> new.name
 WHERE EXISTS (SELECT 1 FROM temp.staged s CROSS JOIN job j ON j.dataset_id = old.id AND j.kind = 'download'
                  AND j.path = s.path AND j.recipe_id = 0 AND j.state IN ('available', 'running', 'completed')
                WHERE s.subset = u.subset)
 ORDER BY old.name;

-- name: inherit_take_over
-- The download that takes the place of one that runs finds its partial open, as after a lease that ran out.
UPDATE job SET take_over = 1
 WHERE id IN (SELECT j.id
                FROM temp.staged_subset u CROSS JOIN dataset new ON new.id = u.dataset_id
                CROSS JOIN dataset old ON old.local_root = new.local_root AND old.subset = new.subset AND old.id <> new.id
                CROSS JOIN job o ON o.dataset_id = old.id AND o.kind = 'download'
                       AND (o.state = 'running' OR (o.take_over AND o.state IN ('available', 'discarded')))
                CROSS JOIN temp.staged s ON s.path = o.path AND s.subset = u.subset
                CROSS JOIN job j ON j.dataset_id = new.id AND j.kind = 'download' AND j.path = o.path
                       AND j.recipe_id = 0 AND j.state = 'available');

-- name: supersede
-- Another revision of the same files was enqueued: whatever is unfinished of the others is cancelled, running jobs
-- too, for one local path has one owner; the fence stops the old one. What they had is of another content. The
-- order of the joins makes it free where there is no other revision.
UPDATE job SET state = 'cancelled', owner = NULL, lease_until = NULL, ended_at = :now,
  take_over = max(take_over, state = 'running'), had = '', validator = NULL, done_bytes = 0
 WHERE id IN (SELECT j.id
                FROM temp.staged_subset u CROSS JOIN dataset new ON new.id = u.dataset_id
                CROSS JOIN dataset old ON old.local_root = new.local_root AND old.subset = new.subset AND old.id <> new.id
                CROSS JOIN job j ON j.dataset_id = old.id AND j.kind IN ('download', 'verify', 'tokenize')
                       AND j.state IN ('available', 'running', 'discarded')
                CROSS JOIN temp.staged s ON s.path = j.path AND s.subset = u.subset);

-- name: revive_stages
-- Later stages of a finished file that were discarded are tried again when it is enqueued again.
UPDATE job SET state = 'available', run_at = :now, ended_at = NULL, failures = 0, crashes = 0,
  error_class = NULL, error_text = NULL
 WHERE id IN (SELECT j.id
                FROM temp.staged_subset u CROSS JOIN job j ON j.dataset_id = u.dataset_id
                       AND j.kind IN ('verify', 'tokenize') AND j.state IN ('discarded', 'cancelled')
                CROSS JOIN temp.staged s ON s.path = j.path AND NOT s.missing
                CROSS JOIN job d ON d.dataset_id = j.dataset_id AND d.kind = 'download' AND d.path = j.path
                       AND d.recipe_id = 0 AND d.state = 'completed');

-- name: tie_recipe
INSERT INTO dataset_recipe SELECT dataset_id, :recipe_id FROM temp.staged_subset WHERE true ON CONFLICT DO NOTHING;

-- name: tokenize_verified
-- A recipe tied to files that are verified already: their next stage begins now.
INSERT INTO job (dataset_id, kind, path, recipe_id, size_bytes, digest, priority, run_at, created_at)
SELECT v.dataset_id, 'tokenize', v.path, :recipe_id, v.size_bytes, v.digest, :priority, :now, :now
  FROM temp.staged_subset u
  CROSS JOIN job v ON v.dataset_id = u.dataset_id AND v.kind = 'verify' AND v.state = 'completed'
  CROSS JOIN temp.staged s ON s.path = v.path AND NOT s.missing
 WHERE true
ON CONFLICT DO NOTHING;

-- name: cancel
-- A running one is still written to until its engine renews, so the next holder must take the partial over.
UPDATE job SET state = 'cancelled', owner = NULL, lease_until = NULL, ended_at = :now,
  take_over = max(take_over, state = 'running')
 WHERE id = :id AND state IN ('available', 'running', 'discarded');

-- name: revive
UPDATE job SET state = 'available', run_at = :now, ended_at = NULL, failures = 0, crashes = 0,
  error_class = NULL, error_text = NULL
 WHERE id = :id AND state IN ('discarded', 'cancelled');

-- name: engine_start
INSERT INTO engine (owner, host, pid, identity, version, workers, started_at, beat_at)
VALUES (:owner, :host, :pid, :identity, :version, :workers, :now, :now);

-- name: engine_beat
UPDATE engine SET beat_at = :now, per_s = :per_s, n_requests = :n_requests, bound = :bound WHERE owner = :owner;

-- name: engine_end
UPDATE engine SET beat_at = :now, ended_at = :now, per_s = 0, n_requests = 0, bound = '' WHERE owner = :owner;

-- name: engines_open
SELECT owner, identity FROM engine WHERE ended_at IS NULL AND owner <> :owner;

-- name: prune_engines
-- A week of engines is enough history for a person; one that nobody could see end is silent for as long.
DELETE FROM engine WHERE beat_at < :now - 604800;

-- name: remember_pace
INSERT INTO host (name, connections_hint, connections_cap, paced_at) VALUES (:host, :hint, :cap, :now)
ON CONFLICT (name) DO UPDATE
   SET connections_hint = excluded.connections_hint, connections_cap = excluded.connections_cap,
       paced_at = excluded.paced_at;

-- name: prune_hosts
DELETE FROM host WHERE paced_at <= :now - :kept_s;

-- name: paces
-- What lies in the future was written by a clock that has been set back since: how old it is nobody knows.
SELECT name, connections_hint, connections_cap FROM host WHERE paced_at > :now - :kept_s AND paced_at <= :now
 ORDER BY name;

-- name: close_gate
INSERT INTO gate (host, quota, closed_at, closed_until) VALUES (:host, :quota, :now, :until)
ON CONFLICT (host, quota) DO UPDATE SET closed_at = excluded.closed_at, closed_until = excluded.closed_until;

-- name: prune_gates
DELETE FROM gate WHERE closed_until <= :now;

-- name: closed_gates
-- As with paces, and for a stronger reason: each start would close the gate again until the clock catches up.
SELECT host, quota, closed_until FROM gate WHERE closed_until > :now AND closed_at <= :now ORDER BY host, quota;
