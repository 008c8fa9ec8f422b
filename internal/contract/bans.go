package contract

import (
	"slices"
)

// Unban is usermgr.Manager.Unban, recorded.
func (m *Manager) Unban(userID string) bool {
	u := &unban{user: userID}
	m.log.begin(&u.span, func() { m.log.unbans = append(m.log.unbans, u) })
	was := m.Manager.Unban(userID)
	m.log.end(&u.span, nil)
	return was
}

// banned: a user who came online was not banned, and had a known device class (rules 17 and 26).
func (j *judge) banned(c *connection, b *befallen) {
	for _, a := range j.asks {
		if a.ban <= 0 || a.refused() != nil || !j.bans(a, c) || c.logon.from < a.to || b.connected.fromAt >= a.fromAt+a.ban {
			continue
		}
		lifted := slices.ContainsFunc(j.unbans, func(u *unban) bool {
			return u.user == c.user && u.reaches(a.from) && u.from < b.connected.from
		})
		if !lifted {
			j.complain(26, c.user, "%v came, and %v had banned the user", b.connected, a)
		}
	}
	if !j.m.policy.knows(c.device) {
		j.complain(17, c.user, "%v came on device %d, which is not known", b.connected, c.device)
	}
}

// mayBeBanned reports whether a ban of the user of c can have been in force in the turn of the logon.
func (j *judge) mayBeBanned(c *connection) bool {
	return slices.ContainsFunc(j.asks, func(a *ask) bool {
		return a.ban > 0 && a.refused() == nil && j.bans(a, c) && a.from < c.logon.to && c.logon.fromAt < a.toAt+a.ban
	})
}

// bans reports whether a, which is a ban, is one of the user of c.
func (j *judge) bans(a *ask, c *connection) bool {
	if a.what != kickSession {
		return a.user == c.user
	}
	k := j.byConn[j.chains.byID[a.session]]
	return k != nil && k.user == c.user
}
