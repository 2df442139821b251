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
RETURNING id, kind, dataset_id, recipe_id, part, path, attempt, failures, size_bytes, digest, had, validator, take_over,
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
ON CONFLICT (dataset_id, kind, path, recipe_id, part) DO UPDATE
   SET state = 'available', run_at = excluded.run_at, ended_at = NULL, failures = 0, crashes = 0, done_bytes = 0,
       size_bytes = excluded.size_bytes, digest = excluded.digest, result = NULL,
       error_class = NULL, error_text = NULL
 WHERE state IN ('completed', 'discarded', 'cancelled');

-- name: insert_child_per_recipe
-- The same, once for each recipe that the dataset has by now and each part that its parent, just completed, found: an
-- enqueue may tie another recipe while the parent runs, and only within this transaction is it sure that either it or
-- the enqueue sees the file. :keep: what was made of the same content stays.
INSERT INTO job (dataset_id, kind, path, recipe_id, part, size_bytes, digest, priority, run_at, created_at)
SELECT :dataset_id, :kind, :path, t.recipe_id, coalesce(u.key, 0),
       :size_bytes / max(1, coalesce(json_array_length(p.result, '$.parts'), 0)), :digest, p.priority, :now, :now
  FROM dataset_recipe t JOIN job p ON p.id = :parent_id LEFT JOIN json_each(p.result, '$.parts') u
 WHERE t.dataset_id = :dataset_id
ON CONFLICT (dataset_id, kind, path, recipe_id, part) DO UPDATE
   SET state = 'available', run_at = excluded.run_at, ended_at = NULL, failures = 0, crashes = 0, done_bytes = 0,
       size_bytes = excluded.size_bytes, digest = excluded.digest, result = NULL,
       error_class = NULL, error_text = NULL
 WHERE state IN ('discarded', 'cancelled') OR (state = 'completed' AND NOT (:keep AND digest IS excluded.digest));

-- name: reopen_lost_parts
-- Parts that the new content has not got any more; completed ones are reopened, for they can only then be cancelled.
UPDATE job SET state = 'available', ended_at = NULL
 WHERE dataset_id = :dataset_id AND kind = 'tokenize' AND path = :path AND state = 'completed'
   AND part >= max(1, (SELECT coalesce(json_array_length(result, '$.parts'), 0) FROM job WHERE id = :parent_id));

-- name: cancel_lost_parts
UPDATE job SET state = 'cancelled', owner = NULL, lease_until = NULL, ended_at = :now
 WHERE dataset_id = :dataset_id AND kind = 'tokenize' AND path = :path AND state IN ('available', 'running', 'discarded')
   AND part >= max(1, (SELECT coalesce(json_array_length(result, '$.parts'), 0) FROM job WHERE id = :parent_id));

-- name: note_fenced
INSERT INTO attempt_count VALUES ('fenced', '', 1) ON CONFLICT DO UPDATE SET n = n + 1;

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
INSERT INTO recipe (name, tokenizer, tokenizer_path, tokenizer_sha256, eos_id, max_seq_length, options, output_dir,
                    vocab_size)
VALUES (:name, :tokenizer, :tokenizer_path, :tokenizer_sha256, :eos_id, :max_seq_length, :options, :output_dir,
        :vocab_size)
ON CONFLICT (name) DO UPDATE SET tokenizer_path = excluded.tokenizer_path, vocab_size = excluded.vocab_size,
  options = excluded.options
 WHERE tokenizer_sha256 = excluded.tokenizer_sha256 AND eos_id = excluded.eos_id AND output_dir = excluded.output_dir
   AND json_remove(options, '$.max_bad_share') = json_remove(excluded.options, '$.max_bad_share')
RETURNING id;

-- name: note_backend
UPDATE recipe SET backend = :backend WHERE id = :recipe_id AND backend <> :backend;

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
ON CONFLICT (dataset_id, kind, path, recipe_id, part) DO UPDATE
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
-- A recipe tied to files that are verified already: their next stage begins now, a job for each part.
INSERT INTO job (dataset_id, kind, path, recipe_id, part, size_bytes, digest, priority, run_at, created_at)
SELECT v.dataset_id, 'tokenize', v.path, :recipe_id, coalesce(u.key, 0),
       v.size_bytes / max(1, coalesce(json_array_length(v.result, '$.parts'), 0)), v.digest, :priority, :now, :now
  FROM temp.staged_subset t
  CROSS JOIN job v ON v.dataset_id = t.dataset_id AND v.kind = 'verify' AND v.state = 'completed'
  CROSS JOIN temp.staged s ON s.path = v.path AND NOT s.missing
  LEFT JOIN json_each(v.result, '$.parts') u
 WHERE true
ON CONFLICT DO NOTHING;

-- name: verify_downloaded
-- Files that were fetched before anybody knew how to read them.
INSERT INTO job (dataset_id, kind, path, size_bytes, digest, priority, run_at, created_at)
SELECT d.dataset_id, 'verify', d.path, d.size_bytes, d.digest, :priority, :now, :now
  FROM temp.chosen c CROSS JOIN job d ON d.dataset_id = c.dataset_id AND d.kind = 'download' AND d.state = 'completed'
 WHERE is_text_file(d.path)
ON CONFLICT DO NOTHING;

-- name: chosen_table
CREATE TEMP TABLE IF NOT EXISTS chosen (dataset_id INTEGER PRIMARY KEY) STRICT;

-- name: clear_chosen
DELETE FROM temp.chosen;

-- name: latest_ids
-- Every subset of a dataset, each at the revision that was enqueued last.
SELECT max(id) FROM dataset WHERE name = :name GROUP BY subset;

-- name: choose_one
INSERT INTO temp.chosen VALUES (:dataset_id);

-- name: tie_chosen
INSERT INTO dataset_recipe SELECT dataset_id, :recipe_id FROM temp.chosen WHERE true ON CONFLICT DO NOTHING;

-- name: tokenize_chosen
-- As tokenize_verified, and what was discarded or cancelled is tried again.
INSERT INTO job (dataset_id, kind, path, recipe_id, part, size_bytes, digest, priority, run_at, created_at)
SELECT v.dataset_id, 'tokenize', v.path, :recipe_id, coalesce(u.key, 0),
       v.size_bytes / max(1, coalesce(json_array_length(v.result, '$.parts'), 0)),
       coalesce(v.digest, v.result ->> '$.digest'), :priority, :now, :now
  FROM temp.chosen c CROSS JOIN job v ON v.dataset_id = c.dataset_id AND v.kind = 'verify' AND v.state = 'completed'
  LEFT JOIN json_each(v.result, '$.parts') u
 WHERE true
ON CONFLICT (dataset_id, kind, path, recipe_id, part) DO UPDATE
   SET state = 'available', run_at = excluded.run_at, ended_at = NULL, failures = 0, crashes = 0, result = NULL,
       error_class = NULL, error_text = NULL
 WHERE state IN ('discarded', 'cancelled');

-- name: n_chosen
-- (files to be tokenized or under way, those done) with one recipe.
SELECT coalesce(sum(state IN ('available', 'running')), 0), coalesce(sum(state = 'completed'), 0)
  FROM temp.chosen c CROSS JOIN job j ON j.dataset_id = c.dataset_id AND j.kind = 'tokenize'
 WHERE j.recipe_id = :recipe_id;

-- name: n_to_survey
SELECT count(*) FROM temp.chosen c CROSS JOIN job v ON v.dataset_id = c.dataset_id AND v.kind = 'verify'
   AND v.state IN ('available', 'running');

-- name: redo
UPDATE job SET state = 'available', run_at = :now, ended_at = NULL, failures = 0, crashes = 0, result = NULL
 WHERE id = :id AND state = 'completed';

-- name: reopen_all
UPDATE job SET state = 'available', run_at = :now, ended_at = NULL, failures = 0, crashes = 0, result = NULL
 WHERE kind = 'tokenize' AND recipe_id = :recipe_id AND state = 'completed'
   AND dataset_id IN (SELECT dataset_id FROM temp.chosen);

-- name: hold_unverified
-- What is to be made of content that is still to be looked at waits for that, cancelled: verify makes it be made.
UPDATE job SET state = 'cancelled', ended_at = :now
 WHERE kind = 'tokenize' AND recipe_id = :recipe_id AND state = 'available'
   AND dataset_id IN (SELECT dataset_id FROM temp.chosen)
   AND NOT EXISTS (SELECT 1 FROM job v WHERE v.dataset_id = job.dataset_id AND v.kind = 'verify' AND v.path = job.path
                      AND v.state = 'completed');

-- name: input_tables
-- The files of a folder wait here until all of them are known.
CREATE TEMP TABLE IF NOT EXISTS staged_input (
  subset TEXT NOT NULL, file TEXT NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  PRIMARY KEY (subset, file)
) STRICT, WITHOUT ROWID;
CREATE TEMP TABLE IF NOT EXISTS input_subset (subset TEXT PRIMARY KEY, dataset_id INTEGER NOT NULL) STRICT;
CREATE TEMP TABLE IF NOT EXISTS gone (
  dataset_id INTEGER NOT NULL, file TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (dataset_id, file)
) STRICT, WITHOUT ROWID;

-- name: clear_inputs
DELETE FROM temp.staged_input;
DELETE FROM temp.input_subset;
DELETE FROM temp.gone;

-- name: stage_input
INSERT INTO temp.staged_input VALUES (?, ?, ?, ?);

-- name: input_subsets
SELECT DISTINCT subset FROM temp.staged_input ORDER BY subset;

-- name: put_input_subset
INSERT INTO temp.input_subset VALUES (:subset, :dataset_id);

-- name: origin_of_name
SELECT source, origin FROM dataset WHERE name = :name LIMIT 1;

-- name: find_gone
-- Files that were put up before and are not there any more, where all of a folder was looked at (:is_all: those below, too).
INSERT INTO temp.gone
SELECT i.dataset_id, i.file, i.path FROM dataset d CROSS JOIN input i ON i.dataset_id = d.id
 WHERE d.name = :name AND d.source = 'local' AND (:is_all OR d.subset = '')
   AND NOT EXISTS (SELECT 1 FROM temp.staged_input s WHERE s.subset = d.subset AND s.file = i.file);

-- name: n_gone
SELECT count(*) FROM temp.gone;

-- name: forget_gone
DELETE FROM input WHERE (dataset_id, file) IN (SELECT dataset_id, file FROM temp.gone);

-- name: reopen_gone
-- Jobs with a file that is gone are done anew without it; where none is left they end, by the next statement.
UPDATE job SET state = 'available', owner = NULL, lease_until = NULL, run_at = :now, ended_at = NULL, failures = 0,
  crashes = 0, result = NULL, error_class = NULL, error_text = NULL
 WHERE kind IN ('verify', 'tokenize') AND state <> 'available'
   AND (dataset_id, path) IN (SELECT dataset_id, path FROM temp.gone);

-- name: cancel_gone
-- What is to be made of the rest of a group waits for verify, as of any content that changed.
UPDATE job SET state = 'cancelled', ended_at = :now
 WHERE kind IN ('verify', 'tokenize') AND state = 'available'
   AND (dataset_id, path) IN (SELECT dataset_id, path FROM temp.gone)
   AND (kind = 'tokenize'
        OR NOT EXISTS (SELECT 1 FROM input i WHERE i.dataset_id = job.dataset_id AND i.path = job.path));

-- name: outdate_inputs
-- What was still to be made of content that has changed; verify makes it be made of the new.
UPDATE job SET state = 'cancelled', owner = NULL, lease_until = NULL, ended_at = :now
 WHERE kind = 'tokenize' AND state IN ('available', 'running', 'discarded') AND (dataset_id, path) IN (
   SELECT i.dataset_id, i.path
     FROM temp.staged_input s CROSS JOIN temp.input_subset u ON u.subset = s.subset
     CROSS JOIN input i ON i.dataset_id = u.dataset_id AND i.file = s.file
    WHERE i.size_bytes <> s.size_bytes OR i.mtime_ns <> s.mtime_ns);

-- name: reverify_changed
-- Jobs with a file that is not the one that was hashed: its size or time differs. Those of a group go with it.
-- One that runs has hashed the old content, or half of it: the fence takes its result away.
UPDATE job SET state = 'available', owner = NULL, lease_until = NULL, run_at = :now, ended_at = NULL, failures = 0,
  crashes = 0, result = NULL, error_class = NULL, error_text = NULL
 WHERE kind = 'verify' AND state <> 'available' AND (dataset_id, path) IN (
   SELECT i.dataset_id, i.path
     FROM temp.staged_input s CROSS JOIN temp.input_subset u ON u.subset = s.subset
     CROSS JOIN input i ON i.dataset_id = u.dataset_id AND i.file = s.file
    WHERE i.size_bytes <> s.size_bytes OR i.mtime_ns <> s.mtime_ns OR job.state IN ('discarded', 'cancelled'));

-- name: note_changed
UPDATE input SET (size_bytes, mtime_ns) = (
    SELECT s.size_bytes, s.mtime_ns FROM temp.staged_input s CROSS JOIN temp.input_subset u ON u.subset = s.subset
     WHERE u.dataset_id = input.dataset_id AND s.file = input.file)
 WHERE (dataset_id, file) IN (
   SELECT u.dataset_id, s.file FROM temp.staged_input s CROSS JOIN temp.input_subset u ON u.subset = s.subset);

-- name: new_inputs
SELECT u.dataset_id, s.subset, s.file, s.size_bytes, s.mtime_ns
  FROM temp.staged_input s CROSS JOIN temp.input_subset u ON u.subset = s.subset
 WHERE (s.subset, s.file) > (:subset, :file)
   AND NOT EXISTS (SELECT 1 FROM input i WHERE i.dataset_id = u.dataset_id AND i.file = s.file)
 ORDER BY s.subset, s.file LIMIT :n;

-- name: last_group
-- Of all that ever were: a number is not given a second time, even where all files have left their group.
SELECT path FROM job WHERE dataset_id = :dataset_id AND kind = 'verify' AND path GLOB '*group-[0-9][0-9][0-9][0-9][0-9]*'
 ORDER BY length(path) DESC, path DESC LIMIT 1;

-- name: put_input
INSERT INTO input (dataset_id, file, path, size_bytes, mtime_ns) VALUES (?, ?, ?, ?, ?);

-- name: leave_group
UPDATE input SET path = file WHERE dataset_id = :dataset_id AND file = :path;

-- name: verify_inputs
INSERT INTO job (dataset_id, kind, path, size_bytes, priority, run_at, created_at)
SELECT i.dataset_id, 'verify', i.path, sum(i.size_bytes), :priority, :now, :now
  FROM temp.input_subset u CROSS JOIN input i ON i.dataset_id = u.dataset_id GROUP BY i.dataset_id, i.path
ON CONFLICT (dataset_id, kind, path, recipe_id, part) DO UPDATE
   SET size_bytes = excluded.size_bytes, state = 'available', run_at = excluded.run_at, ended_at = NULL, failures = 0,
       crashes = 0, result = NULL, error_class = NULL, error_text = NULL
 WHERE state = 'cancelled' OR (state = 'available' AND size_bytes <> excluded.size_bytes);

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
UPDATE engine SET beat_at = :now, per_s = :per_s, n_requests = :n_requests, bound = :bound, cpu_s = :cpu_s,
  rss_bytes = :rss_bytes, loop_lag_s = :loop_lag_s, n_pool = :n_pool
 WHERE owner = :owner;

-- name: put_traffic
INSERT INTO traffic (owner, host, n_open, n_allowed, per_s, first_byte_s, n_refused)
VALUES (:owner, :host, :n_open, :n_allowed, :per_s, :first_byte_s, :n_refused)
ON CONFLICT (owner, host) DO UPDATE
   SET n_open = excluded.n_open, n_allowed = excluded.n_allowed, per_s = excluded.per_s,
       first_byte_s = excluded.first_byte_s, n_refused = excluded.n_refused;

-- name: forget_traffic
DELETE FROM traffic WHERE owner = :owner;

-- name: prune_traffic
DELETE FROM traffic WHERE owner NOT IN (SELECT owner FROM engine WHERE ended_at IS NULL);

-- name: engine_end
UPDATE engine SET beat_at = :now, ended_at = :now, per_s = 0, n_requests = 0, bound = '', n_pool = 0 WHERE owner = :owner;

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

-- What a person steers. A paused job that is due is moved 1e10 s (three centuries) away, so that a claim never has to
-- look at it: run_at >= 1e10 is how it is known. `resume` takes that off again in the transaction that lifts the pause.

-- name: pauses
SELECT what, name FROM pause;

-- name: put_pause
INSERT INTO pause VALUES (:what, :name, :now) ON CONFLICT DO NOTHING;

-- name: drop_pause
DELETE FROM pause WHERE what = :what AND name = :name;

-- name: paused_kinds
SELECT name FROM pause WHERE what = 'kind';

-- name: has_paused_datasets
SELECT EXISTS (SELECT 1 FROM paused_dataset);

-- name: paused_ids
SELECT dataset_id FROM paused_dataset ORDER BY 1;

-- name: list_paused
-- What the pauses of datasets and hosts stand for by now: a dataset's name, or the host in its origin, whatever the port.
DELETE FROM paused_dataset;
INSERT INTO paused_dataset
SELECT d.id FROM pause p CROSS JOIN dataset d ON d.name = p.name WHERE p.what = 'dataset'
UNION
SELECT s.id
  FROM pause p CROSS JOIN
       (SELECT id, substr(rest, 1, instr(rest, '/') - 1) AS site
          FROM (SELECT id, lower(substr(origin, instr(origin, '://') + 3)) || '/' AS rest
                  FROM dataset WHERE origin LIKE 'http://%' OR origin LIKE 'https://%')) s
 WHERE p.what = 'host'
   AND (s.site IN (p.name, '[' || p.name || ']') OR substr(s.site, 1, length(p.name) + 1) = p.name || ':'
        OR substr(s.site, 1, length(p.name) + 3) = '[' || p.name || ']:');

-- name: set_aside
-- Of the first :n that a claim would take, those of paused datasets are moved away.
UPDATE job SET run_at = run_at + 1e10
 WHERE id IN (SELECT id FROM (SELECT id, dataset_id FROM job
                               WHERE state = 'available' AND kind = :kind AND priority = :priority AND run_at <= :now
                               ORDER BY run_at, id LIMIT max(:n, 0))
               WHERE dataset_id IN (SELECT dataset_id FROM paused_dataset));

-- name: set_all_aside
UPDATE job INDEXED BY job_available SET run_at = run_at + 1e10
 WHERE state = 'available' AND run_at < 1e10 AND dataset_id IN (SELECT dataset_id FROM paused_dataset);

-- name: bring_back
-- The lists make it a search in each part of the index, rather than a walk past all that is not paused.
UPDATE job INDEXED BY job_available SET run_at = run_at - 1e10
 WHERE state = 'available' AND kind IN ('download', 'verify', 'tokenize', 'episode', 'build', 'upload')
   AND priority IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9) AND run_at >= 1e10
   AND dataset_id NOT IN (SELECT dataset_id FROM paused_dataset);

-- name: shift_some
-- Jobs of :datasets (JSON) go :by seconds, 1e10 away or -1e10 back. A search by dataset: it is part of an enqueue,
-- which must not walk past all that waits.
UPDATE job SET run_at = run_at + :by
 WHERE dataset_id IN (SELECT value FROM json_each(:datasets)) AND state = 'available' AND (run_at < 1e10) = (:by > 0);

-- name: picked_table
CREATE TEMP TABLE IF NOT EXISTS picked (id INTEGER PRIMARY KEY) STRICT;

-- name: clear_picked
DELETE FROM temp.picked;

-- name: pick_ids
INSERT OR IGNORE INTO temp.picked SELECT j.id FROM json_each(:ids) g CROSS JOIN job j ON j.id = g.value;

-- name: pick_datasets
INSERT OR IGNORE INTO temp.picked
SELECT j.id FROM json_each(:datasets) g CROSS JOIN dataset d ON d.name = g.value CROSS JOIN job j ON j.dataset_id = d.id;

-- name: pick_failed
INSERT OR IGNORE INTO temp.picked
SELECT id FROM job WHERE error_class IS NOT NULL AND (:error_class IS NULL OR error_class = :error_class);

-- name: narrow_picked
-- Leave what every part of a choice names and what is in one of :states (JSON). :is_waiting: of what is available only
-- what failed and waits for its next try. IS, because NOT NULL is no reason to leave a row out.
DELETE FROM temp.picked WHERE id NOT IN (
  SELECT j.id FROM temp.picked p CROSS JOIN job j ON j.id = p.id CROSS JOIN dataset d ON d.id = j.dataset_id
   WHERE j.state IN (SELECT value FROM json_each(:states))
     AND (NOT :is_waiting OR j.state <> 'available' OR (j.error_class IS NOT NULL AND j.run_at > :now))
     AND (:error_class IS NULL OR j.error_class IS :error_class) AND (:kind IS NULL OR j.kind = :kind)
     AND (:datasets = '[]' OR d.name IN (SELECT value FROM json_each(:datasets)))
     AND (:subset IS NULL OR d.subset = :subset) AND (:revision IS NULL OR d.revision = :revision));

-- name: picked_sums
-- {state: n} and the bytes that were still to come, of what was picked. Apart from what is available, as 'paused': what
-- a pause holds, and with :is_waiting, where all is made available, what it will hold.
SELECT CASE WHEN (j.state = 'available' OR (:is_waiting AND j.state = 'discarded'))
             AND (j.dataset_id IN (SELECT dataset_id FROM paused_dataset)
                  OR j.kind IN (SELECT name FROM pause WHERE what = 'kind')) THEN 'paused' ELSE j.state END,
       count(*), sum(CASE WHEN j.kind = 'download' THEN max(coalesce(j.size_bytes, 0) - j.done_bytes, 0) ELSE 0 END)
  FROM temp.picked p CROSS JOIN job j ON j.id = p.id GROUP BY 1;

-- name: retry_picked
-- What waits is tried now, what was discarded gets all its tries again. What is paused stays away.
UPDATE job SET state = 'available', ended_at = NULL, failures = 0, crashes = 0,
  run_at = :now + (CASE WHEN state = 'available' AND run_at >= 1e10 THEN 1e10 ELSE 0 END),
  error_class = CASE state WHEN 'discarded' THEN NULL ELSE error_class END,
  error_text = CASE state WHEN 'discarded' THEN NULL ELSE error_text END
 WHERE id IN (SELECT id FROM temp.picked);

-- name: refetch_picked
-- A refused file was put aside or has gone, so its next stage alone would find nothing: it is downloaded again, and
-- that makes the stage be done again. Files of this machine have no download.
UPDATE job SET state = 'available', run_at = :now, ended_at = NULL, failures = 0, crashes = 0, had = '', done_bytes = 0,
  validator = NULL, result = NULL, error_class = NULL, error_text = NULL
 WHERE kind = 'download' AND state = 'completed' AND (dataset_id, path) IN (
   SELECT j.dataset_id, j.path FROM temp.picked p CROSS JOIN job j ON j.id = p.id
    WHERE j.state = 'discarded' AND ((j.kind = 'verify' AND j.error_class IN (SELECT value FROM json_each(:refused)))
                                     OR j.error_class = 'missing_file'));

-- name: drop_refetched
-- Those are not tried now: their download brings them back.
DELETE FROM temp.picked WHERE id IN (
  SELECT j.id FROM temp.picked p CROSS JOIN job j ON j.id = p.id
   WHERE j.state = 'discarded' AND ((j.kind = 'verify' AND j.error_class IN (SELECT value FROM json_each(:refused)))
                                    OR j.error_class = 'missing_file')
     AND EXISTS (SELECT 1 FROM job d WHERE d.dataset_id = j.dataset_id AND d.kind = 'download' AND d.path = j.path
                    AND d.recipe_id = 0 AND d.state IN ('available', 'running')));

-- name: cancel_picked
-- As `cancel`.
UPDATE job SET state = 'cancelled', owner = NULL, lease_until = NULL, ended_at = :now,
  take_over = max(take_over, state = 'running')
 WHERE id IN (SELECT id FROM temp.picked);
