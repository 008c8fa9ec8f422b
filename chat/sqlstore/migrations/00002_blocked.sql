-- +goose Up

-- Who has blocked a user is found by it. Few rows are in it.
CREATE INDEX contact_blocked ON contact (other, user_id) WHERE blocked OR blocked_anonymous;
