package usermgr

import "github.com/rollcall-go/rollcall/internal/seam"

// This file has what a manager does whose Claims is a seam.Presences: a user may be online on several managers, so that the Claims knows
// when the user comes online and goes offline.

func init() {
	seam.UsersOf = func(users any) seam.Users {
		m := users.(*Manager)
		return seam.Users{Offline: m.offlineEverywhere, Online: m.onlineAfterAll, Arrive: m.arrive, EndGrace: m.endGraceOf}
	}
}

// offlineEverywhere tells Offline of a user. The task ends nothing; but a claim of the user may wait for it.
func (m *Manager) offlineEverywhere(userID string, version uint64, carries []Carry) {
	m.users.post(m, userID, &task{ends: true, run: func(u *user) {
		d := UserData{UserID: userID, Version: version}
		for _, c := range carries {
			d.add(c)
		}
		m.each("Offline", func(h *Events) { h.Offline(d) })
		u.passOn()
	}})
}

// onlineAfterAll tells Online of a user who came online by a claim that was not used.
func (m *Manager) onlineAfterAll(userID string, version uint64) {
	m.users.post(m, userID, soon(func(*user) {
		m.each("Online", func(h *Events) { h.Online(UserData{UserID: userID, Version: version}) })
	}))
}

// arrive brings what moves with a user.
func (m *Manager) arrive(userID string, c Carry) {
	m.users.post(m, userID, soon(func(u *user) {
		u.mu.Lock()
		here := u.countsAsOnline()
		u.mu.Unlock()
		if here {
			u.arrive(c)
		}
	}))
}

func (m *Manager) endGraceOf(userID string) {
	m.users.post(m, userID, soon(func(u *user) { u.endGrace() }))
}

// forgetGrace has a user begin anew who was in a grace here, and has gone offline elsewhere meanwhile.
func (u *user) forgetGrace() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.oldest.Load() != nil {
		return
	}
	u.stopGrace()
	if p := u.lazy.Load(); p != nil {
		p.logins.stop()
	}
	u.lazy.Store(nil)
}
