SELECT pg_advisory_xact_lock(7230941); -- servers that start at once
CREATE TABLE IF NOT EXISTS user_events (
  id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id TEXT NOT NULL,
  due     TIMESTAMPTZ NOT NULL DEFAULT now()); -- when it is tried, or tried again
