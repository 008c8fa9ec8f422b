-- +goose Up

-- A user that was created. Times are milliseconds since 1970 UTC, 0 for never; so they are in all tables.
CREATE TABLE account (
  user_id         TEXT     PRIMARY KEY,
  may_receive     BOOLEAN  NOT NULL,
  may_send        BOOLEAN  NOT NULL,
  allow_anonymous BOOLEAN  NOT NULL,
  requests        SMALLINT NOT NULL, -- 0 open, 1 ask, 2 off
  created         BIGINT   NOT NULL,
  set_up          BOOLEAN  NOT NULL
);

CREATE TABLE presence (
  user_id     TEXT     PRIMARY KEY,
  wanted      SMALLINT NOT NULL, -- 0 online, 2 busy, 3 stealth
  last_online BIGINT   NOT NULL,
  last_seen   BIGINT   NOT NULL
);

-- What a user has with another. The other's row says what the other has with the user.
CREATE TABLE contact (
  user_id           TEXT     NOT NULL,
  other             TEXT     NOT NULL,
  state             SMALLINT NOT NULL, -- 0 nothing, 1 asked, 2 is asked, 4 friends
  blocked           BOOLEAN  NOT NULL,
  blocked_anonymous BOOLEAN  NOT NULL,
  since             BIGINT   NOT NULL,
  note              TEXT     NOT NULL,
  declined          BIGINT   NOT NULL,
  PRIMARY KEY (user_id, other)
);

-- A group, or two users. Its row is locked while messages get their numbers and while a group changes.
CREATE TABLE conversation (
  id              BIGINT   PRIMARY KEY,
  pair            TEXT     UNIQUE,             -- NULL for a group; both user IDs, the lesser first, the byte 0x1F between
  last_seq        BIGINT   NOT NULL DEFAULT 0,
  last_time       BIGINT   NOT NULL DEFAULT 0,
  oldest          BIGINT,                      -- the time of the first message that is kept; NULL if it is the last one too
  version         BIGINT   NOT NULL DEFAULT 0, -- counts changes of who is in the group
  name            TEXT     NOT NULL DEFAULT '',
  owner           TEXT     NOT NULL DEFAULT '',
  max_members     INTEGER  NOT NULL DEFAULT 0,
  members         INTEGER  NOT NULL DEFAULT 0,
  allow_anonymous BOOLEAN  NOT NULL DEFAULT FALSE,
  muted           BOOLEAN  NOT NULL DEFAULT FALSE,
  open            BOOLEAN  NOT NULL DEFAULT FALSE,
  dissolved       BOOLEAN  NOT NULL DEFAULT FALSE
);

-- The messages that may be pruned are found by it. A new message leaves it alone.
CREATE INDEX conversation_oldest ON conversation (oldest) WHERE oldest IS NOT NULL;

-- The members of groups, and the two users of a pair that has messages.
CREATE TABLE member (
  conv        BIGINT   NOT NULL,
  user_id     TEXT     NOT NULL,
  pair        BOOLEAN  NOT NULL,
  role        SMALLINT NOT NULL DEFAULT 0, -- 0 member, 1 administrator, 2 owner
  joined_seq  BIGINT   NOT NULL DEFAULT 0, -- last_seq when the user came
  PRIMARY KEY (conv, user_id)
);

CREATE INDEX member_user ON member (user_id, conv);
CREATE INDEX member_group ON member (user_id) WHERE NOT pair;

CREATE TABLE ban (
  conv        BIGINT NOT NULL,
  user_id     TEXT   NOT NULL,
  by_user     TEXT   NOT NULL, -- '' for not banned
  muted_until BIGINT NOT NULL, -- here, since it outlives membership
  PRIMARY KEY (conv, user_id)
);

-- The flags are 1 anonymous, 2 recalled, 4 a recall. The content of a message that was recalled is the number of its recall, and that of a
-- recall the number of what it recalls: 8 bytes, the highest first.
CREATE TABLE message (
  conv    BIGINT   NOT NULL,
  seq     BIGINT   NOT NULL,
  id      BYTEA    NOT NULL,
  sender  TEXT     NOT NULL,
  sent    BIGINT   NOT NULL,
  flags   SMALLINT NOT NULL,
  type    INTEGER  NOT NULL,
  content BYTEA    NOT NULL,
  PRIMARY KEY (conv, seq),
  UNIQUE (conv, sender, id)
);
