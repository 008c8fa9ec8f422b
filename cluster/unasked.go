package cluster

import (
	"time"

	"github.com/google/uuid"
)

// A client that handles a message while it moves to this node acknowledges it here. The message was pushed to its former session on another
// node, and this node does not know to which. So all nodes are told; the one whose push service waits for the user counts it. It is one
// frame to each node, and only for messages that no session here was asked for and that are older than the session.

const (
	// unaskedMost is how many acknowledgements of one session other nodes are told. It is how many a client remembers.
	unaskedMost = 1024
	// unaskedSlack is how much younger than the session a message may seem to be: clocks differ.
	unaskedSlack = time.Minute
)

// Unasked implements seam.Keeper.
func (k keeper) Unasked(user string, conn uint64, device uint16, id uuid.UUID) {
	n := k.node
	m := n.users.Load()
	if m == nil {
		return
	}
	s, ok := m.SessionAt(conn)
	if !ok || s.UserID != user || isYounger(id, s.LogonTime) {
		return
	}
	session, err := uuid.Parse(s.ID)
	if err != nil {
		return
	}
	var to []Incarnation
	n.mu.Lock()
	me, c := n.me, n.claims[session]
	if c != nil && n.maySend() {
		if more := c.needMore(); more.unasked < unaskedMost {
			more.unasked++
			for i := range n.view.Members {
				if other := &n.view.Members[i]; !other.Dead && other.Incarnation != me {
					to = append(to, other.Incarnation)
				}
			}
		}
	}
	n.mu.Unlock()
	for _, inc := range to {
		n.send(&frame{kind: frameUnasked, from: me, to: inc, owner: user, push: id, session: session, device: uint64(device)})
	}
}

// isYounger reports whether a message is younger than a session, and so was not pushed to an earlier one. It goes by the ID that a push
// service has given to the message; an ID of another kind does not say it.
func isYounger(id uuid.UUID, logon time.Time) bool {
	if id.Version() != 7 {
		return false
	}
	return time.Unix(id.Time().UnixTime()).After(logon.Add(unaskedSlack))
}
