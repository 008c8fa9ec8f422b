package contract

import (
	"context"
	"maps"
	"slices"
	"time"
)

// promptness: calls that must not wait have returned, and, with FakeTime, took no time (rule 10).
func (j *judge) promptness() {
	for _, a := range j.asks {
		if a.to == 0 {
			j.complain(10, a.user, "%v has not returned", a)
		} else if j.m.FakeTime && a.toAt > a.fromAt && a.what != endForGood && !a.blocks {
			j.complain(10, a.user, "%v returned only after %v", a, a.toAt-a.fromAt)
		}
	}
	for _, k := range j.looks {
		if k.to == 0 {
			j.complain(10, k.user, "a question about a user or a connection was not answered")
		} else if j.m.FakeTime && k.toAt > k.fromAt {
			j.complain(10, k.user, "%v: the answer came only after %v", k, k.toAt-k.fromAt)
		}
	}
	for _, h := range j.histories {
		for _, e := range h.events {
			if e.to == 0 {
				j.complain(10, h.user, "%v has not returned", e)
			}
		}
	}
}

// userCount: the calls come one at a time, each with another number than the one before (rules 6 and 12).
func (j *judge) userCount() {
	last := make(map[int]*event)
	var previous *event
	for _, e := range j.counts {
		if previous != nil && !e.from.after(previous.to) {
			j.complain(12, "", "%v began before %v had returned", e, previous)
		}
		previous = e
		told := 0
		if l := last[e.subscriber]; l != nil {
			told = l.count
		}
		if told == e.count {
			j.complain(12, "", "%v came, and that was no change", e)
		}
		last[e.subscriber] = e
	}
}

// rests: at a rest the users that are online by the events are online, all that had to end has ended, and the numbers are
// right (rules 3, 5, 10 and 12).
func (j *judge) rests() {
	for _, r := range j.log.rests {
		online := j.onlineAt(r.from)
		for _, user := range slices.Sorted(maps.Keys(online)) {
			if !slices.Equal(online[user], r.online[user]) {
				j.complain(3, user, "at rest the user is on connections %v; by the events it is %v", r.online[user], online[user])
			}
		}
		for user, conns := range r.online {
			if online[user] == nil {
				j.complain(3, user, "at rest the user is on connections %v; by the events it is on none", conns)
			}
		}
		users := j.onlineUsers(r.from)
		if r.stats.Users != len(users) {
			j.complain(12, "", "at rest the manager counts %d users; by the events it is %d", r.stats.Users, len(users))
		}
		for user := range users {
			if _, ok := r.data[user]; !ok {
				j.complain(17, user, "at rest the user is offline; by the events it is not")
			}
		}
		for user, d := range r.data {
			if !users[user] {
				j.complain(17, user, "at rest the user is online; by the events it is not")
			}
			if len(d.Sessions) != len(online[user]) {
				j.complain(3, user, "at rest the user has %d sessions; by the events it is %d", len(d.Sessions), len(online[user]))
			}
		}
		devices, sessions := j.devicesOf(online)
		if r.stats.Sessions != sessions {
			j.complain(17, "", "at rest the manager counts %d sessions; by the events it is %d", r.stats.Sessions, sessions)
		}
		for device, n := range r.stats.Devices {
			if n != devices[device] {
				j.complain(17, "", "at rest the manager counts %d sessions on device %d; by the events it is %d", n, device, devices[device])
			}
		}
		told := 0
		for _, e := range j.counts {
			if e.from < r.from {
				told = e.count
			}
		}
		if told != len(users) {
			j.complain(12, "", "at rest UserCountChanged has told %d last; by the events it is %d", told, len(users))
		}
		j.overdue(r)
		j.absent(r)
		j.tagsAt(r)
		j.expiring(r)
	}
	if n := len(j.log.rests); n > 0 {
		last := j.log.rests[n-1]
		if last.stats.HandlerPanics != j.panics {
			j.complain(10, "", "%d event handlers panicked, the manager counts %d", j.panics, last.stats.HandlerPanics)
		}
		if least, most := j.givenUp(); last.stats.HandlersFrozen < least || last.stats.HandlersFrozen > most {
			j.complain(5, "", "%d to %d sessions ended without their last message handler, the manager counts %d", least, most,
				last.stats.HandlersFrozen)
		}
	}
	if len(j.strays) > 0 {
		j.complain(5, "", "connections got messages without having asked to log on: %v", j.strays)
	}
}

func (j *judge) devicesOf(online map[string][]uint64) (devices map[uint16]int, sessions int) {
	devices = make(map[uint16]int)
	for _, conns := range online {
		for _, c := range conns {
			devices[j.login(c).device]++
			sessions++
		}
	}
	return devices, sessions
}

// onlineAt returns the users online at p, and their connections, by the events.
func (j *judge) onlineAt(p place) map[string][]uint64 {
	online := make(map[string][]uint64)
	for _, h := range j.histories {
		for _, e := range h.events {
			if e.from > p {
				break
			}
			switch e.kind {
			case connected:
				online[h.user] = append(online[h.user], e.conn)
			case disconnected:
				online[h.user] = slices.DeleteFunc(online[h.user], func(c uint64) bool { return c == e.conn })
				if len(online[h.user]) == 0 {
					delete(online, h.user)
				}
			}
		}
	}
	return online
}

// overdue: at a rest no session is online that was to end.
func (j *judge) overdue(r *rest) {
	for _, c := range j.conns {
		b := j.of(c.number)
		if b.connected == nil || b.connected.from > r.from || b.disconnected != nil && b.disconnected.from < r.from {
			continue
		}
		for _, a := range j.asks {
			waited := j.m.FakeTime && c.logon.fromAt < a.fromAt && a.waits()
			if a.before(r.from) && (j.reached(a, c, b) || waited && j.concerns(a, c)) {
				rule := 10
				if a.what == endConn { // the session's own End
					rule = 3
				}
				j.complain(rule, c.user, "at rest %d is online, in spite of %v", c.number, a)
			}
		}
	}
}

// waits reports whether a also ends the logons that wait.
func (a *ask) waits() bool {
	switch a.what {
	case endAll, endForGood, kickUser, kickSome:
		return true
	}
	return false
}

// kicks: every kick is done, and its Wait returns what it did (rule 10).
func (j *judge) kicks() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, a := range j.asks {
		if a.kick != nil || a.refused() != nil {
			j.kick(ctx, a)
		}
	}
}

// closings: nothing comes after Close (rule 16).
func (j *judge) closings() {
	for _, a := range j.asks {
		if a.what != endForGood {
			continue
		}
		if a.err != nil {
			j.complain(16, "", "Close has not come to its end: %v", a.err)
		}
		if a.err != nil || a.to == 0 {
			continue
		}
		for _, e := range slices.Concat(j.events, j.counts) {
			if e.reaches(a.to) {
				j.complain(16, e.user, "%v came after Close", e)
			}
		}
		for _, c := range j.conns {
			if c.logon.from > a.to && c.err == nil {
				j.complain(16, c.user, "Register(%d) succeeded after Close", c.number)
			}
		}
	}
}
