package cluster

import (
	"slices"
	"time"
)

// locations remember on which other nodes users have sessions. They have two generations, so that the oldest half is forgotten at once
// when there is no room. The node's lock protects them.
type locations struct {
	most     int           // users
	ttl      time.Duration // how long a user's location is believed
	young    map[string]location
	old      map[string]location
	lastTurn time.Duration
}

// location is where a user has sessions, as a look into the store has shown.
type location struct {
	nodes []Incarnation // it does not change; none where the user has sessions on this node alone
	at    time.Duration // of the look
}

// get returns the nodes where the user has sessions, and whether that is known.
func (l *locations) get(user string, now time.Duration) (nodes []Incarnation, ok bool) {
	at, ok := l.find(user, now)
	return at.nodes, ok
}

// find is get, with the time.
func (l *locations) find(user string, now time.Duration) (at location, ok bool) {
	at, ok = l.young[user]
	if !ok {
		at, ok = l.old[user]
	}
	if !ok || now-at.at >= l.ttl {
		return location{}, false
	}
	return at, true
}

func (l *locations) put(user string, nodes []Incarnation, now time.Duration) {
	if l.young == nil || len(l.young) >= (l.most+1)/2 || now-l.lastTurn >= l.ttl {
		l.old, l.young, l.lastTurn = l.young, make(map[string]location), now
	}
	l.young[user] = location{nodes, now}
}

// forget forgets where the user is, if a node is among the places; node 0 stands for any.
func (l *locations) forget(user string, node Incarnation) {
	for _, m := range []map[string]location{l.young, l.old} {
		if at, ok := m[user]; ok && (node == 0 || slices.Contains(at.nodes, node)) {
			delete(m, user)
		}
	}
}

func (l *locations) clear() { l.young, l.old = nil, nil }
