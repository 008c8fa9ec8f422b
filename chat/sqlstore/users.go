package sqlstore

import (
	"context"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/presence"
)

var (
	loadPresence = stmt(`SELECT p.user_id, p.wanted, p.last_online, p.last_seen FROM KEYS(user_id text) k JOIN presence p ON p.user_id = k.user_id`)

	savePresence = stmt(`INSERT INTO presence (user_id, wanted, last_online, last_seen)
		SELECT k.user_id, k.wanted, k.last_online, k.last_seen FROM KEYS(user_id text, wanted smallint, last_online bigint, last_seen bigint) k WHERE TRUE
		ON CONFLICT (user_id) DO UPDATE SET wanted = excluded.wanted, last_online = excluded.last_online, last_seen = excluded.last_seen`)
)

// LoadPresence implements presence.Store.
func (s *Store) LoadPresence(ctx context.Context, userIDs []string) (found []presence.Record, err error) {
	ids := texts(userIDs)
	err = s.look(ctx, question{st: loadPresence, keys: keysOf(&ids), each: func(row scan) error {
		var r presence.Record
		var wanted uint8
		var online, seen int64
		err := row(&r.UserID, &wanted, &online, &seen)
		r.Wanted, r.LastOnline, r.LastSeen = presence.State(wanted), timeOf(online), timeOf(seen)
		found = append(found, r)
		return err
	}})
	return found, err
}

// SavePresence implements presence.Store.
func (s *Store) SavePresence(ctx context.Context, records []presence.Record) error {
	var users texts
	var wanted shorts
	var online, seen ints
	for _, r := range records { // sorted, so that two calls do not wait for each other
		users, wanted = append(users, r.UserID), append(wanted, int16(r.Wanted))
		online, seen = append(online, millis(r.LastOnline)), append(seen, millis(r.LastSeen))
	}
	return s.write(ctx, func(t *tx) error {
		_, err := t.put(savePresence, keysOf(&users, &wanted, &online, &seen))
		return err
	})
}

const accountColumns = `a.user_id, a.may_receive, a.may_send, a.allow_anonymous, a.requests, a.created, a.set_up`

var (
	accounts       = stmt(`SELECT ` + accountColumns + ` FROM KEYS(user_id text) k JOIN account a ON a.user_id = k.user_id`)
	accountsShared = stmt(`SELECT ` + accountColumns + ` FROM KEYS(user_id text) k JOIN account a ON a.user_id = k.user_id FOR SHARE OF a`)
	accountLocked  = stmt(`SELECT ` + accountColumns + ` FROM account a WHERE a.user_id = $1 FOR UPDATE OF a`)

	createAccount = stmt(`INSERT INTO account (user_id, may_receive, may_send, allow_anonymous, requests, created, set_up)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id) DO NOTHING`)
	updateAccount = stmt(`UPDATE account SET may_receive = $2, may_send = $3, allow_anonymous = $4, requests = $5, created = $6, set_up = $7
		WHERE user_id = $1`)
)

// people are users by their IDs.
type people map[string]chat.User

// get returns a user, also one that was never stored.
func (p people) get(id string) chat.User {
	if u, ok := p[id]; ok {
		return u
	}
	return chat.User{UserID: id, Settings: chat.DefaultSettings()}
}

// add scans a user.
func (p people) add(row scan) error {
	u := chat.User{Exists: true}
	var requests uint8
	var created int64
	err := row(&u.UserID, &u.Receive, &u.Send, &u.Anonymous, &requests, &created, &u.SetUp)
	u.Requests, u.Created = chat.Requests(requests), timeOf(created)
	p[u.UserID] = u
	return err
}

// Users implements chat.Store.
func (s *Store) Users(ctx context.Context, userIDs []string) ([]chat.User, error) {
	found := people{}
	ids := distinct(userIDs)
	if err := s.look(ctx, question{st: accounts, keys: keysOf(&ids), each: found.add}); err != nil {
		return nil, err
	}
	users := make([]chat.User, len(userIDs))
	for i, id := range userIDs {
		users[i] = found.get(id)
	}
	return users, nil
}

// distinct are the IDs without repetitions.
func distinct(ids []string) (each texts) {
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if !seen[id] {
			seen[id], each = true, append(each, id)
		}
	}
	return each
}

// UpdateUser implements chat.Store.
func (s *Store) UpdateUser(ctx context.Context, userID string, change func(u *chat.User) error) error {
	for {
		stored := true
		err := s.write(ctx, func(t *tx) error {
			found := people{}
			if err := t.rows(accountLocked, []any{userID}, found.add); err != nil {
				return err
			}
			u := found.get(userID)
			save := createAccount
			if u.Exists {
				save = updateAccount
			}
			if err := change(&u); err != nil {
				return refusal{err}
			}
			if !u.Exists {
				return nil
			}
			n, err := t.run(save, userID, u.Receive, u.Send, u.Anonymous, int16(u.Requests), millis(u.Created), u.SetUp)
			stored = n > 0
			return err
		})
		if err != nil || stored {
			return err
		}
		// Another transaction has created the user meanwhile.
	}
}
