-- One cycle of a queue in PostgreSQL as it is usually built: submit, claim, complete, each a transaction of its own.
INSERT INTO job(input) VALUES(:input);
UPDATE job SET state = 1, attempt = attempt + 1, started = now() WHERE id = (
    SELECT id FROM job WHERE state = 0 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id \gset
UPDATE job SET state = 2, result = :input, ended = now() WHERE id = :id AND state = 1;
